"""Words of the command line: spellings, layers of settings, refusals of one line, no delay."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mriprep import __version__
from mriprep.app import RefusalError
from mriprep.cli import COMMANDS, main
from mriprep.contrasts import Contrast
from mriprep.settings import (
    AntsSource,
    BiasSettings,
    BrainSettings,
    ImageSettings,
    MaskSource,
    Normalization,
    Registration,
    RegistrationSettings,
    Settings,
    Space,
    Switch,
    to_toml,
)

HEAVY = ('numpy', 'nibabel', 'scipy', 'nipype', 'torch', 'matplotlib', 'pandas', 'bids', 'rich')


@pytest.fixture
def call(monkeypatch):
    """Call the BIDS-App with words after the three positional ones; see what would be run."""

    def call(*words, code=0):
        seen = []

        def run(options, settings, resources):
            seen.append((options, settings, resources))
            return code

        monkeypatch.setattr('mriprep.app.run', run)
        assert main(['bids', 'out', 'participant', *map(str, words)]) == code
        return seen[0]

    return call


def refusal(capsys, *words):
    assert main([*map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.startswith('mriprep: ')
    assert err.count('\n') == 1
    assert err.endswith('\n')
    return err


def test_defaults_are_those_of_the_settings(call):
    options, settings, resources = call()
    assert settings == Settings()
    assert (options.bids_dir, options.out_dir) == (Path('bids'), Path('out'))
    assert options.command == ('mriprep', 'bids', 'out', 'participant')
    assert not options.dry_run
    assert resources.n_threads <= min(4, resources.n_procs)


@pytest.mark.parametrize(
    ('words', 'name', 'value'),
    [
        (('--participant-label', '01', 'sub-02'), 'participant_labels', ('01', 'sub-02')),
        (('--participant_label', '01'), 'participant_labels', ('01',)),
        (('--session-label', 'a', 'b'), 'session_labels', ('a', 'b')),
        (('--session-id', 'a'), 'session_labels', ('a',)),
        (('-w', 'scratch'), 'work_dir', Path('scratch')),
        (('--work-dir', 'scratch'), 'work_dir', Path('scratch')),
        (('--bids-filter-file', 'f.json'), 'bids_filter_file', Path('f.json')),
        (('--bids-database-dir', 'db'), 'bids_database_dir', Path('db')),
        (('--use-plugin', 'p.yml'), 'plugin_file', Path('p.yml')),
        (('--run-uuid', 'night'), 'run_id', 'night'),
        (('--dry-run',), 'dry_run', True),
        (('--reports-only',), 'reports_only', True),
        (('--boilerplate-only',), 'boilerplate_only', True),
        (('--clean-workdir',), 'clean_workdir', True),
        (('--write-graph',), 'write_graph', True),
        (('--stop-on-first-crash',), 'stop_on_first_crash', True),
        (('--offline',), 'offline', True),
        (('-vv',), 'verbose', 2),
    ],
)
def test_options_of_a_run(call, words, name, value):
    assert getattr(call(*words)[0], name) == value
    assert call(*words)[1] == Settings()


def test_validation_may_be_skipped_for_compatibility(call):
    assert call('--skip-bids-validation')[1] == Settings()


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (
            ('--output-spaces', 'MNI152NLin2009cAsym:res-2', 'T1w'),
            {'output_spaces': (Space('MNI152NLin2009cAsym', None, '2'), Space('T1w'))},
        ),
        (
            ('--registration', 'syn'),
            {'registration': RegistrationSettings(transform=Registration.SYN)},
        ),
        (('--normalize', 'none'), {'normalization': Normalization.NONE}),
        (('--ants', 'system'), {'ants': AntsSource.SYSTEM}),
        (('--random-seed', '7'), {'random_seed': 7}),
        (('--extractor', 'deepbet'), {'brain': BrainSettings(extractor='deepbet')}),
        (('--second-extractor', 'none'), {'brain': BrainSettings(second='none')}),
        (('--mask-threshold', '0.3'), {'brain': BrainSettings(mask_threshold=0.3)}),
        (('--force',), {'brain': BrainSettings(force=True)}),
        (
            ('--contrasts', 'T1w', 'FLAIR', 'T1w'),
            {'images': ImageSettings(contrasts=(Contrast.T1W, Contrast.FLAIR))},
        ),
        (
            ('--contrasts', 'ce-T1w', '--reference-contrast', 'ce-T1w'),
            {'images': ImageSettings(contrasts=(Contrast.CE_T1W,), reference='ce-T1w')},
        ),
        (('--reference-contrast', 'auto'), {}),
        (('--reference-contrast', 'FLAIR'), {'images': ImageSettings(reference='FLAIR')}),
        (('--merge-runs',), {'images': ImageSettings(merge_runs=True)}),
        (('--longitudinal',), {'images': ImageSettings(longitudinal=True)}),
        (
            ('--contrast-masks', 'reference'),
            {'images': ImageSettings(masks=MaskSource.REFERENCE)},
        ),
        (('--lesion-masking',), {'registration': RegistrationSettings(lesion_masking=True)}),
        (
            ('--lesion-masking', '--registration', 'rigid'),
            {
                'registration': RegistrationSettings(
                    transform=Registration.RIGID, lesion_masking=True
                )
            },
        ),
        (
            ('--test-time-augmentation', 'off'),
            {'brain': BrainSettings(test_time_augmentation=Switch.OFF)},
        ),
    ],
)
def test_flags_become_settings(call, words, expected):
    settings = call(*words)[1]
    assert settings == Settings(**expected)
    assert type(settings.brain.test_time_augmentation) is Switch
    assert {type(contrast) for contrast in settings.images.contrasts} == {Contrast}


def test_what_networks_need_of_the_machine(call, tmp_path):
    resources = call('--device', 'cpu', '--weights-dir', tmp_path)[2]
    assert (resources.device, resources.devices) == ('cpu', ('cpu',))
    assert not resources.uses_gpu
    assert resources.weights_dir == tmp_path


def test_derivative_data_sets_have_names(call, tmp_path):
    for name in ('hand-drawn', 'other'):
        (tmp_path / name).mkdir()
    words = (tmp_path / 'hand-drawn', f'third={tmp_path / "other"}')
    options = call('--derivatives', *words)[0]
    assert options.derivatives == {
        'handdrawn': tmp_path / 'hand-drawn',
        'third': tmp_path / 'other',
    }


def test_flags_go_over_the_config_file_and_that_over_defaults(call, tmp_path):
    config = tmp_path / 'night.toml'
    config.write_text(
        'random_seed = 5\nnormalization = "none"\n[bias]\nfit_voxel_mm = 3.0\n'
        '[registration]\ntransform = "rigid"\ninterpolation = "Linear"\n'
    )
    settings = call('--config-file', config, '--registration', 'syn', '--random-seed', 9)[1]
    assert settings.random_seed == 9
    assert settings.normalization is Normalization.NONE
    assert settings.bias == BiasSettings(fit_voxel_mm=3.0)
    assert settings.registration.transform is Registration.SYN
    assert settings.registration.interpolation == 'Linear'
    assert settings.brain == Settings().brain


def test_flags_about_images_leave_the_rest_of_their_table(call, tmp_path):
    config = tmp_path / 'night.toml'
    config.write_text('[images]\nmerge_runs = true\nreference = "T2w"\n')
    images = call('--config-file', config, '--reference-contrast', 'FLAIR')[1].images
    assert images == ImageSettings(merge_runs=True, reference='FLAIR')


def test_settings_that_a_run_saved_are_accepted_back(call, tmp_path):
    words = ('--output-spaces', 'T1w', 'MNIPediatricAsym:cohort-2', '--registration', 'rigid')
    words += ('--contrasts', 'FLAIR', 'T1w', '--reference-contrast', 'FLAIR', '--merge-runs')
    words += ('--longitudinal', '--lesion-masking', '--contrast-masks', 'reference')
    settings = call(*words)[1]
    assert settings.images.longitudinal
    (tmp_path / 'settings.toml').write_text(to_toml(settings))
    assert call('--config-file', tmp_path / 'settings.toml')[1] == settings


def test_a_step_uses_no_more_processors_than_the_run(call):
    resources = call('--nprocs', 2, '--omp-nthreads', 8, '--mem-gb', 3.5)[2]
    assert (resources.n_procs, resources.n_threads, resources.mem_gb) == (2, 2, 3.5)
    assert call('--nprocs', 16)[2].n_threads == 4


@pytest.mark.parametrize('code', [0, 1])
def test_the_code_of_the_run_is_the_code_of_the_program(call, code):
    call(code=code)


@pytest.mark.parametrize(
    ('words', 'part'),
    [
        ((), 'required: bids_dir, out_dir, analysis_level'),
        (('bids',), 'required: out_dir, analysis_level'),
        (('bids', 'out', 'everything'), "invalid choice: 'everything'"),
        (('bids', 'out', 'participant', '--nproc', '2'), '--nproc'),
        (('bids', 'out', 'participant', '--nprocs', 'two'), "invalid int value: 'two'"),
        (('bids', 'out', 'participant', '--nprocs', '0'), '--nprocs'),
        (('bids', 'out', 'participant', '--mem-gb', '-1'), '--mem-gb must be positive'),
        (('bids', 'out', 'participant', '--random-seed', '0'), 'random_seed must be positive'),
        (('bids', 'out', 'participant', '--output-spaces', 'MNI:what-2'), "'what-2'"),
        (('bids', 'out', 'participant', '--output-spaces', 'a b'), "'a b' is malformed"),
        (('bids', 'out', 'participant', '--config-file', 'absent.toml'), 'absent.toml'),
        (('bids', 'out', 'participant', '--mask-threshold', '1.5'), 'mask_threshold'),
        (('bids', 'out', 'participant', '--second-extractor', 'given'), "can't be 'given'"),
        (('bids', 'out', 'participant', '--device', 'tpu'), '--device tpu: no such device'),
        (('bids', 'out', 'participant', '-d', 'x=absent'), 'there is no folder absent'),
        (('bids', 'out', 'participant', '-d', 'raw=.'), "the name 'raw' is taken"),
        (
            ('bids', 'out', 'participant', '--contrasts', 'T1w', '--reference-contrast', 'T2w'),
            'the reference contrast T2w is not among the contrasts (T1w)',
        ),
        (('bids', 'out', 'participant', '--contrasts'), 'expected at least one argument'),
    ],
)
def test_what_can_not_be_used_is_refused_in_one_line(capsys, words, part):
    assert part in refusal(capsys, *words)


@pytest.mark.parametrize(
    ('option', 'known'),
    [
        ('--registration', Registration),
        ('--normalize', Normalization),
        ('--ants', AntsSource),
        ('--contrasts', Contrast),
        ('--reference-contrast', Contrast),
        ('--contrast-masks', MaskSource),
    ],
)
def test_a_choice_that_is_not_known_lists_those_that_are(capsys, option, known):
    err = refusal(capsys, 'bids', 'out', 'participant', option, 'magic')
    assert 'magic' in err
    for choice in known:
        assert choice.value in err
    assert '<' not in err, 'choices are shown as Python objects'


def test_a_refusal_of_the_run_is_one_line(capsys, monkeypatch):
    def run(*_):
        raise RefusalError('bids: no such folder; give the folder of a BIDS data set')

    monkeypatch.setattr('mriprep.app.run', run)
    assert 'bids: no such folder' in refusal(capsys, 'bids', 'out', 'participant')


def test_an_interrupted_run_says_how_to_go_on(capsys, monkeypatch):
    def run(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('mriprep.app.run', run)
    assert main(['bids', 'out', 'participant']) == 130
    assert 'same command' in capsys.readouterr().err


def test_a_full_disk_is_said_without_a_traceback(capsys, monkeypatch):
    def run(*_):
        raise OSError(28, 'No space left on device', '/out/x')

    monkeypatch.setattr('mriprep.app.run', run)
    assert main(['bids', 'out', 'participant']) == 1
    assert 'no space left' in capsys.readouterr().err


def test_a_fault_of_the_disk_is_not_taken_for_a_full_one(monkeypatch, capsys):
    def run(*_):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr('mriprep.app.run', run)
    assert main(['bids', 'out', 'participant']) == 1
    words = capsys.readouterr().err
    assert 'Input/output error' in words
    assert 'no space left' not in words


@pytest.mark.parametrize('command', COMMANDS)
def test_the_first_word_chooses_the_command(monkeypatch, command):
    import importlib

    given = []
    module = importlib.import_module(f'mriprep.cli.{command}')
    monkeypatch.setattr(module, 'main', lambda words: given.append(words) or 3)
    assert main([command, '--a', 'b']) == 3
    assert given == [['--a', 'b']]


@pytest.mark.parametrize('folder', ['./demo', 'demos', 'data/demo'])
def test_a_folder_whose_name_is_like_a_command_is_a_folder(monkeypatch, folder):
    seen = []
    monkeypatch.setattr('mriprep.app.run', lambda options, *_: seen.append(options) or 0)
    assert main([folder, 'out', 'participant']) == 0
    assert seen[0].bids_dir == Path(folder)


def child(*words):
    """Run the command line in a new process; its output, and which heavy modules it imported."""
    code = (
        'import json, sys\n'
        'from mriprep.cli import main\n'
        f'code = main({list(words)!r})\n'
        f'heavy = [name for name in {HEAVY!r} if name in sys.modules]\n'
        'print(json.dumps([code, heavy]), file=sys.stderr)\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, check=True
    )
    return done.stdout, *json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    ('words', 'code', 'part'),
    [
        (('--version',), 0, f'mriprep {__version__}'),
        (('--help',), 0, '--participant-label'),
        (('--nonsense',), 2, ''),
        (('demo', '--help'), 0, 'usage: mriprep demo'),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(words, code, part):
    out, returned, heavy = child(*words)
    assert part in out
    assert returned == code
    assert heavy == []


def test_help_names_the_other_commands(capsys):
    assert main(['--help']) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f'mriprep {command}' in out
    assert '[cohort-N]' in out or 'cohort-N' in out


def test_the_module_is_the_program():
    done = subprocess.run(
        [sys.executable, '-m', 'mriprep', '--version'], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f'mriprep {__version__}'


def test_what_nobody_foresaw_is_one_line_and_its_traceback_goes_to_the_log(
    tmp_path, monkeypatch, capsys, caplog
):
    def broken(*_):
        raise KeyError('a bug')

    monkeypatch.setattr('mriprep.app.run', broken)
    logger = logging.getLogger('mriprep')
    monkeypatch.setattr(logger, 'propagate', True)
    assert main([str(tmp_path), str(tmp_path / 'out'), 'participant']) == 1
    words = capsys.readouterr().err
    assert words.count('\n') == 1
    assert "KeyError: 'a bug'" in words
    assert 'Traceback' in caplog.text


def test_a_refused_run_leaves_no_folders(tmp_path, capsys):
    (tmp_path / 'bids').mkdir()
    out, work = tmp_path / 'out', tmp_path / 'work'
    assert main([str(tmp_path / 'bids'), str(out), 'participant', '-w', str(work)]) == 2
    assert not out.exists()
    assert not work.exists()
