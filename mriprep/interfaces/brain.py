"""Brain extraction and masks."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


def worker_key(extractor, device):
    """Name what a worker has loaded that serves an extractor on a device."""
    return f'{extractor} on {device}'


class _FindBrainInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='head, RAS axes')
    in_given = File(exists=True, desc='mask that the user has, for the extractor "given"')
    atlas = traits.List(
        File(exists=True), minlen=5, maxlen=5, mandatory=True,
        desc='T1w, brain mask, GM, WM and CSF of a stripped template',
    )  # fmt: skip
    extractor = traits.Str(mandatory=True, desc='name in the registry, "given" or "stripped"')
    second = traits.Str('', usedefault=True, desc='asked when the first is not believed')
    threshold = traits.Range(0.0, 1.0, value=0.5, usedefault=True, desc='probability of brain')
    test_time_augmentation = traits.Bool(False, usedefault=True, desc='average mirrored images')
    age_years = traits.Either(None, traits.Float(), usedefault=True, desc='for the norms')
    sex = traits.Enum(None, 'male', 'female', usedefault=True, desc='for the norms')
    contrast = traits.Str('', usedefault=True, desc='what its name says; empty: not known')
    # where it runs doesn't belong to what it gives
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='takes a GPU for itself')
    device = traits.Str('auto', usedefault=True, nohash=True, desc="'cpu', 'cuda:N', 'mps'")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='processors')
    weights_dir = traits.Str('', usedefault=True, nohash=True, desc='folder of weights')


class _FindBrainOutputSpec(TraitedSpec):
    out_mask = File(desc='brain mask, uint8, on the grid of in_file; may be refused')
    out_probability = File(desc='probability of brain, where the extractor gives one')
    out_rival = File(desc='mask that it was compared with, if there was need')
    out_verdict = File(desc='JSON: what the guard says')
    metadata = traits.Dict(desc='what made the mask, for its sidecar')


class FindBrain(SimpleInterface):
    """Find the brain and let the guard judge the mask; a second extractor is asked when in doubt.

    A mask that is refused is an output too, so that it can be shown: `BelieveMask` stops it.
    """

    input_spec = _FindBrainInputSpec
    output_spec = _FindBrainOutputSpec

    @property
    def worker_key(self):
        """What a worker must have loaded to be quick at this; see `mriprep.engine`."""
        return worker_key(self.inputs.extractor, self.inputs.device)

    def _run_interface(self, runtime):
        from functools import partial

        import numpy as np

        from mriprep.extraction import find_brain
        from mriprep.extractors import verdicts
        from mriprep.head_bias import even_head
        from mriprep.images import load, write_image

        image = load(self.inputs.in_file)
        affine = image.affine
        volume = image.get_fdata(dtype=np.float32)
        first, second = self._finders(image, volume)
        found = find_brain(
            volume,
            first,
            second,
            judge=verdicts.judge_of(
                volume,
                affine,
                self._atlas(),
                age_years=self.inputs.age_years,
                sex=self.inputs.sex,
            ),
            even=partial(even_head, affine=affine, n_threads=self.inputs.num_threads),
            threshold=self.inputs.threshold,
        )
        folder = Path(runtime.cwd)
        mask = partial(write_image, affine=affine, dtype='uint8', space_code=1)
        mask(found.best.mask, path=folder / 'mask.nii')
        self._results['out_mask'] = str(folder / 'mask.nii')
        if found.rival is not None:
            mask(found.rival.mask, path=folder / 'rival.nii')
            self._results['out_rival'] = str(folder / 'rival.nii')
        if found.best.probability is not None:
            # rounded, so that it compresses; no network is good to a thousandth
            rounded = np.round(found.best.probability, 3)
            path = folder / 'probability.nii'
            write_image(rounded, affine, path, dtype='float32', space_code=1)
            self._results['out_probability'] = str(path)
        verdicts.write(found, folder / 'verdict.json', self._seen(volume, affine, found))
        self._results['out_verdict'] = str(folder / 'verdict.json')
        weights_dir = self._weights_dir()
        self._results['metadata'] = verdicts.metadata(found, weights_dir)
        return runtime

    def _finders(self, image, volume):
        """The first finder and the one that is asked in doubt.

        An image without skull is its own mask, whoever was asked for; those who were are asked
        when that is not believed.
        """
        name, second = self.inputs.extractor, self.inputs.second
        mask = None if name == 'given' else stripped_mask_of(image, volume)
        if mask is not None:
            return _handed('stripped', mask), self._finder(
                second if name == 'stripped' else name, image
            )
        if name == 'stripped':
            return self._finder(second, image), None
        return self._finder(name, image), self._finder(second, image) if second else None

    def _seen(self, volume, affine, found):
        """What the image shows, against what its name says."""
        from mriprep.atlas import load_atlas
        from mriprep.contrast_check import doubt, see_contrast
        from mriprep.contrasts import Contrast
        from mriprep.guard import Status

        if not self.inputs.contrast or found.status is Status.REFUSED:
            return {}
        seen = see_contrast(
            volume,
            affine,
            found.best.mask,
            load_atlas(self._atlas()),
            age_years=self.inputs.age_years,
        )
        words = doubt(Contrast(self.inputs.contrast), seen)
        return {'contrast_seen': seen.record()} | ({'contrast_doubt': words} if words else {})

    def _finder(self, name, image):
        """Make an extractor ready; its network is loaded when it is first asked."""
        from mriprep.extraction import Finder
        from mriprep.extractors import loaded, registry
        from mriprep.extractors.loaded import load_options
        from mriprep.images import load_given_mask

        if name == 'given':
            return _handed(name, load_given_mask(image, self.inputs.in_given))
        facts = registry.get(name).facts
        options = load_options(
            facts,
            self.inputs.device,
            augment=self.inputs.test_time_augmentation,
            weights_dir=self._weights_dir(),
            atlas=self._atlas(),
        )

        def look(volume):
            network = loaded.network(name, options)
            return network(volume, image.affine, n_threads=self.inputs.num_threads)

        return Finder(name=name, gives=facts.gives, look=look, from_template=facts.from_template)

    def _atlas(self):
        from mriprep.extractors.base import AtlasFiles

        t1w, brain_mask, gm, wm, csf = map(Path, self.inputs.atlas)
        return AtlasFiles(t1w=t1w, brain_mask=brain_mask, gm=gm, wm=wm, csf=csf)

    def _weights_dir(self):
        return Path(self.inputs.weights_dir) if self.inputs.weights_dir else None


def stripped_mask_of(image, volume):
    """Mask of an image without skull; None for a head."""
    import numpy as np

    from mriprep.stripped import stripped_mask

    return stripped_mask(volume, np.asarray(image.affine, np.float64))


def _handed(name, mask):
    """Make a finder of a mask that is there already."""
    import numpy as np

    from mriprep.extraction import Finder
    from mriprep.extractors.base import BrainMap, MapKind

    found = BrainMap(values=mask.astype(np.float32), device='cpu')
    return Finder(name=name, gives=MapKind.MASK, look=lambda volume: found)


class _BelieveInputSpec(BaseInterfaceInputSpec):
    in_mask = File(exists=True, mandatory=True, desc='brain mask')
    in_probability = File(exists=True, desc='probability of brain')
    in_verdict = File(exists=True, mandatory=True, desc='JSON: what the guard says')
    metadata = traits.Dict(desc='what made the mask')
    force = traits.Bool(False, usedefault=True, nohash=True, desc='go on with a refused mask')


class _BelieveOutputSpec(TraitedSpec):
    out_mask = File(desc='the mask')
    out_probability = File(desc='the probability')
    metadata = traits.Dict(desc='what made the mask')


class BelieveMask(SimpleInterface):
    """Hand a mask on, unless the guard refuses it."""

    input_spec = _BelieveInputSpec
    output_spec = _BelieveOutputSpec

    def _run_interface(self, runtime):
        from nipype.interfaces.base import isdefined

        from mriprep.extractors.verdicts import why_refused

        if not self.inputs.force and (words := why_refused(Path(self.inputs.in_verdict))):
            raise ValueError(words)
        self._results['out_mask'] = self.inputs.in_mask
        for name, value in (
            ('out_probability', self.inputs.in_probability),
            ('metadata', self.inputs.metadata),
        ):
            if isdefined(value):
                self._results[name] = value
        return runtime


class _ApplyMaskInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='image')
    in_mask = File(exists=True, mandatory=True, desc='mask on the same grid')


class _OutFileOutputSpec(TraitedSpec):
    out_file = File(desc='image, uncompressed')


class ApplyMask(SimpleInterface):
    """Set an image to zero outside a mask."""

    input_spec = _ApplyMaskInputSpec
    output_spec = _OutFileOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.images import load, load_mask_on, write_like
        from mriprep.intensity import apply_mask

        image = load(self.inputs.in_file)
        out_file = Path(runtime.cwd) / 'masked.nii'
        mask = load_mask_on(image, self.inputs.in_mask)
        write_like(image, apply_mask(image.get_fdata(dtype=np.float32), mask), out_file)
        self._results['out_file'] = str(out_file)
        return runtime


class _ZScoreOutputSpec(_OutFileOutputSpec):
    metadata = traits.Dict(desc='statistics that undo the scaling')


class ZScore(SimpleInterface):
    """Standardize an image by its brain intensities."""

    input_spec = _ApplyMaskInputSpec
    output_spec = _ZScoreOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.images import load, load_mask_on, write_like
        from mriprep.intensity import zscore, zscore_parameters

        image = load(self.inputs.in_file)
        volume = image.get_fdata(dtype=np.float32)
        parameters = zscore_parameters(volume, load_mask_on(image, self.inputs.in_mask))
        out_file = Path(runtime.cwd) / 'zscore.nii'
        write_like(image, zscore(volume, parameters), out_file)
        self._results['out_file'] = str(out_file)
        self._results['metadata'] = {
            'NormalizationMean': parameters.mean,
            'NormalizationStandardDeviation': parameters.deviation,
            'NormalizationVoxels': parameters.n_voxels,
        }
        return runtime
