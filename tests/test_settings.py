"""Settings go to TOML and back, and refuse in words what they don't know."""

from __future__ import annotations

import pytest

from mriprep.contrasts import Contrast
from mriprep.settings import (
    BiasSettings,
    ImageSettings,
    MaskSource,
    Registration,
    RegistrationSettings,
    Settings,
    SettingsError,
    Space,
    from_dict,
    merge,
    read_config,
    to_dict,
    to_toml,
)


def test_settings_survive_the_way_through_toml(tmp_path):
    settings = Settings(
        output_spaces=(Space('MNIPediatricAsym', '3', '2'), Space('T1w')),
        registration=RegistrationSettings(transform=Registration.SYN, lesion_masking=True),
        bias=BiasSettings(iterations=(20, 10)),
        images=ImageSettings(
            contrasts=(Contrast.FLAIR, Contrast.CE_T1W),
            reference='FLAIR',
            merge_runs=True,
            longitudinal=True,
            masks=MaskSource.REFERENCE,
        ),
        random_seed=7,
    )
    config = tmp_path / 'settings.toml'
    config.write_text(to_toml(settings))
    read = from_dict(read_config(config))
    assert read == settings
    assert type(read.images.contrasts[0]) is Contrast
    assert type(read.images.masks) is MaskSource


def test_later_layers_win_and_leave_the_rest():
    merged = merge(to_dict(Settings()), {'bias': {'fit_voxel_mm': 2}})
    assert from_dict(merged) == Settings(bias=BiasSettings(fit_voxel_mm=2))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('[bias]\nfit_voxel_nm = 2', "unknown setting 'bias.fit_voxel_nm'; did you mean"),
        ('[bias]\nfit_voxel_mm = 0', 'bias.fit_voxel_mm must be positive'),
        ('[bias]\nfit_voxel_mm = "two"', 'bias.fit_voxel_mm must be float'),
        ('[bias]\nfit_voxel_mm = true', 'bias.fit_voxel_mm must be float'),
        ('[registration]\ntransform = "warp"', 'must be one of rigid, affine, syn'),
        ('output_spaces = ["MNI:what-2"]', "'what-2' is not understood"),
        ('output_spaces = "T1w"', 'output_spaces must be a list'),
        ('output_spaces = []', 'output_spaces is empty'),
        ('bias = 3', 'bias must be a table'),
        ('[images]\ncontrasts = []', 'images.contrasts is empty'),
        ('[images]\ncontrasts = ["T1"]', 'must be one of T1w, ce-T1w, T2w, FLAIR, PDw'),
        ('[images]\nreference = "T1"', 'images.reference must be one of auto, T1w'),
        (
            '[images]\ncontrasts = ["T1w", "T2w"]\nreference = "FLAIR"',
            'the reference contrast FLAIR is not among the contrasts (T1w, T2w)',
        ),
        ('[images]\nmasks = "none"', 'images.masks must be one of own, reference'),
        ('[images]\nmerge_runs = 1', 'images.merge_runs must be bool'),
        ('output_spaces = ["anat:res-1"]', 'takes neither cohort nor res'),
        ('this is not toml', 'not a TOML file'),
    ],
)
def test_a_bad_config_is_refused_with_its_name_and_reason(tmp_path, text, words):
    config = tmp_path / 'night.toml'
    config.write_text(text)
    with pytest.raises(SettingsError, match=r'night\.toml') as refusal:
        read_config(config)
    assert words in str(refusal.value)
    assert '\n' not in str(refusal.value)


def test_an_absent_config_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r'absent.toml.*can not be read'):
        read_config(tmp_path / 'absent.toml')


@pytest.mark.parametrize(
    'text', ['', 'MNI:', 'MNI:res', 'MNI:res-1:res-2', 'a b', 'MNI:cohort-', 'T1w:res-1']
)
def test_malformed_spaces_are_refused(text):
    with pytest.raises(SettingsError, match='output space'):
        Space.from_string(text)


@pytest.mark.parametrize(
    'text', ['T1w', 'MNI152NLin2009cAsym:res-2', 'MNIPediatricAsym:cohort-3:res-native']
)
def test_spaces_read_back_as_written(text):
    assert str(Space.from_string(text)) == text


@pytest.mark.parametrize('text', ['T1w', 'anat'])
def test_the_native_space_has_two_names(text):
    assert Space.from_string(text).is_native


def test_suffixes_are_looked_for_once():
    assert ImageSettings().suffixes == ('T1w', 'T2w', 'FLAIR', 'PDw')
    wanted = ImageSettings(contrasts=(Contrast.CE_T1W, Contrast.FLAIR))
    assert wanted.suffixes == ('T1w', 'FLAIR')
