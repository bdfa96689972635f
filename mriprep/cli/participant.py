"""``mriprep BIDS_DIR OUT_DIR participant``: words to settings, then the run."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mriprep.cli.parser import Parser
from mriprep.contrasts import Contrast
from mriprep.settings import (
    AntsSource,
    MaskSource,
    Normalization,
    Registration,
    Resources,
    Settings,
    SettingsError,
    Space,
    Switch,
    from_dict,
    merge,
    read_config,
    to_dict,
)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from mriprep import __version__

        print(f'mriprep {__version__}')
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Describe the options of the BIDS-App."""
    from mriprep.cli import COMMANDS

    commands = '\n'.join(f'  mriprep {name:8} {text}' for name, text in COMMANDS.items())
    parser = Parser(
        prog='mriprep',
        description='Prepare structural head MRI: from BIDS to derivatives and a report.',
        epilog=f'other commands (each has its own --help):\n{commands}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('bids_dir', type=Path, help='folder of the raw BIDS data set')
    parser.add_argument('out_dir', type=Path, help='folder for the derivatives')
    parser.add_argument('analysis_level', choices=['participant'], help='what to run')
    parser.add_argument('--version', nargs=0, action=_Version, help='print the version')

    which = parser.add_argument_group('which images')
    which.add_argument(
        '--participant-label', '--participant_label', nargs='+', default=[], metavar='LABEL',
        help='subjects, with or without sub-',
    )  # fmt: skip
    which.add_argument(
        '--session-label', '--session-id', nargs='+', default=[], metavar='LABEL',
        help='sessions, with or without ses-',
    )  # fmt: skip
    which.add_argument(
        '--bids-filter-file', type=Path, metavar='FILE',
        help='JSON that narrows the choice of images, as in fMRIPrep',
    )  # fmt: skip
    which.add_argument(
        '--bids-database-dir', type=Path, metavar='DIR', help='where pybids keeps its index'
    )
    which.add_argument(
        '--skip-bids-validation', action='store_true',
        help='taken for compatibility: mriprep reads what it can and names what it can not',
    )  # fmt: skip
    which.add_argument(
        '--contrasts', nargs='+', choices=[str(kind) for kind in Contrast], metavar='CONTRAST',
        help=f'which images are prepared: {", ".join(Contrast)}; default all that are there',
    )  # fmt: skip
    which.add_argument(
        '--reference-contrast', choices=['auto', *map(str, Contrast)], metavar='CONTRAST',
        help='what the others are registered to; default the first that a session has of '
        f'{", ".join(Contrast)}',
    )  # fmt: skip
    which.add_argument(
        '--merge-runs', action='store_true', default=None,
        help='average the runs of a contrast, instead of using the best',
    )  # fmt: skip
    which.add_argument(
        '--longitudinal', action='store_true', default=None,
        help='go to templates through the unbiased mean of the sessions of a subject',
    )  # fmt: skip

    what = parser.add_argument_group('what is done')
    what.add_argument('--config-file', type=Path, metavar='TOML', help='settings of another run')
    what.add_argument(
        '--output-spaces', nargs='+', metavar='SPACE',
        help='NAME[:cohort-N][:res-N|:res-native] of TemplateFlow, or T1w (the '
        'reference alone); default MNI152NLin2009aSym:res-1, which needs no network',
    )  # fmt: skip
    what.add_argument(
        '--registration', choices=[str(kind) for kind in Registration], help='default affine'
    )
    what.add_argument(
        '--lesion-masking', action='store_true', default=None,
        help='keep lesions that are drawn (*_label-lesion_mask or _roi) out of the metric',
    )  # fmt: skip
    what.add_argument(
        '--normalize', choices=[str(kind) for kind in Normalization], help='default zscore'
    )
    what.add_argument(
        '--ants',
        choices=[str(kind) for kind in AntsSource],
        help='which ANTs programs; default embedded',
    )
    what.add_argument('--random-seed', type=int, metavar='N', help='seed of the registration')

    brain = parser.add_argument_group('the brain')
    brain.add_argument(
        '--extractor', metavar='NAME',
        help='what finds the brain: auto, deepbet, hd-bet, synthstrip, template, given (a mask '
        'from -d), or one that another package adds; default auto: hd-bet where a GPU and its '
        'weights are at hand, else deepbet',
    )  # fmt: skip
    brain.add_argument(
        '--second-extractor', metavar='NAME',
        help='what is asked when the guard doubts a mask; default auto; none: nothing',
    )  # fmt: skip
    brain.add_argument(
        '--contrast-masks', choices=[str(kind) for kind in MaskSource],
        help='mask of other contrasts than the reference: found in each (own), or carried over '
        'from the reference; default own',
    )  # fmt: skip
    brain.add_argument(
        '--mask-threshold', type=float, metavar='P',
        help='probability above which a voxel is brain; default 0.5',
    )  # fmt: skip
    brain.add_argument(
        '--test-time-augmentation', choices=[str(kind) for kind in Switch],
        help='average over mirrored images; default auto: on a GPU',
    )  # fmt: skip
    brain.add_argument(
        '--force', action='store_true', default=None,
        help='go on with masks that the guard refuses',
    )  # fmt: skip
    brain.add_argument(
        '-d', '--derivatives', nargs='+', action='extend', default=[], metavar='NAME=PATH',
        help='derivative data sets whose brain masks, corrected images (desc-preproc), '
        'transforms and lesion masks are used',
    )  # fmt: skip

    machine = parser.add_argument_group('this machine')
    machine.add_argument('--nprocs', type=int, metavar='N', help='processors; default all')
    machine.add_argument(
        '--omp-nthreads', type=int, metavar='N', help='processors for one step; default up to 4'
    )
    machine.add_argument('--mem-gb', type=float, metavar='GB', help='memory; default 90%% of it')
    machine.add_argument(
        '--device', default='auto', metavar='DEVICE',
        help='where networks run: auto, cpu, cuda, cuda:N or mps',
    )  # fmt: skip
    machine.add_argument(
        '--weights-dir', type=Path, metavar='DIR',
        help='folder of network weights; default $MRIPREP_WEIGHTS_DIR or a folder of the user',
    )  # fmt: skip
    machine.add_argument('-w', '--work-dir', type=Path, metavar='DIR', help='working files')
    machine.add_argument(
        '--clean-workdir', action='store_true', help='delete working files of finished subjects'
    )
    machine.add_argument(
        '--use-plugin',
        type=Path,
        metavar='FILE',
        help='YAML that names a Nipype plugin (SLURM...)',
    )
    machine.add_argument('--offline', action='store_true', help='never use the network')

    run = parser.add_argument_group('how it runs')
    run.add_argument('--dry-run', action='store_true', help='print the plan and stop')
    run.add_argument('--reports-only', action='store_true', help='put the reports together again')
    run.add_argument(
        '--boilerplate-only', action='store_true', help='write the methods text alone'
    )
    run.add_argument('--write-graph', action='store_true', help='save the workflow as a graph')
    run.add_argument(
        '--stop-on-first-crash', action='store_true', help='stop at the first failure'
    )
    run.add_argument('--run-uuid', metavar='ID', help='name of the run, for its logs')
    run.add_argument('-v', '--verbose', action='count', default=0, help='more in the log file')
    return parser


def flags(options: argparse.Namespace) -> dict[str, object]:
    """Give the settings that flags state, nested as in TOML."""
    out: dict[str, object] = {}
    if options.output_spaces:
        out['output_spaces'] = [str(Space.from_string(word)) for word in options.output_spaces]
    for name, value in (
        ('normalization', options.normalize),
        ('ants', options.ants),
        ('random_seed', options.random_seed),
    ):
        if value is not None:
            out[name] = value
    images = {
        'contrasts': options.contrasts and list(dict.fromkeys(options.contrasts)),
        'reference': options.reference_contrast,
        'merge_runs': options.merge_runs,
        'longitudinal': options.longitudinal,
        'masks': options.contrast_masks,
    }
    registration = {
        'transform': options.registration,
        'lesion_masking': options.lesion_masking,
    }
    brain = {
        'extractor': options.extractor,
        'second': options.second_extractor,
        'mask_threshold': options.mask_threshold,
        'test_time_augmentation': options.test_time_augmentation,
        'force': options.force,
    }
    for table, values in (('images', images), ('registration', registration), ('brain', brain)):
        if stated := {name: value for name, value in values.items() if value is not None}:
            out[table] = stated
    return out


def derivatives_of(words: Sequence[str]) -> dict[str, Path]:
    """Read ``-d NAME=PATH``; without a name, that of the folder.

    Raises
    ------
    SettingsError
        If there is no such folder, or a name comes twice.
    """
    out: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.rpartition('=')
        folder = Path(path)
        name = name if equals else re.sub(r'[^A-Za-z0-9]', '', folder.resolve().name)
        if not folder.is_dir():
            raise SettingsError(f'-d {word}: there is no folder {path}; write NAME=PATH')
        if name in out or name in ('', 'raw'):
            raise SettingsError(f'-d {word}: the name {name!r} is taken; give each its own')
        out[name] = folder
    return out


def settings_of(options: argparse.Namespace) -> Settings:
    """Lay defaults, config file and flags over one another."""
    values = to_dict(Settings())
    if options.config_file is not None:
        values = merge(values, read_config(options.config_file))
    return from_dict(merge(values, flags(options)))


def resources_of(options: argparse.Namespace) -> Resources:
    """Fill in what the machine has where the user says nothing."""
    from mriprep.gpus import resolve_device
    from mriprep.machine import available_memory_gb, available_processors

    n_procs = options.nprocs if options.nprocs is not None else available_processors()
    n_threads = options.omp_nthreads if options.omp_nthreads is not None else min(n_procs, 4)
    return Resources(
        n_procs=n_procs,
        n_threads=min(n_threads, n_procs),
        device=options.device,
        devices=resolve_device(options.device),
        weights_dir=options.weights_dir and options.weights_dir.absolute(),
        mem_gb=options.mem_gb if options.mem_gb is not None else 0.9 * available_memory_gb(),
    )


def main(argv: Sequence[str]) -> int:
    """Run the participant level; return the exit code."""
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as exc:
        return int(exc.code or 0)
    from mriprep.app import RefusalError, RunOptions, run

    try:
        return run(
            RunOptions(
                bids_dir=options.bids_dir,
                out_dir=options.out_dir,
                work_dir=options.work_dir,
                participant_labels=tuple(options.participant_label),
                session_labels=tuple(options.session_label),
                bids_filter_file=options.bids_filter_file,
                bids_database_dir=options.bids_database_dir,
                derivatives=derivatives_of(options.derivatives),
                plugin_file=options.use_plugin,
                clean_workdir=options.clean_workdir,
                dry_run=options.dry_run,
                reports_only=options.reports_only,
                boilerplate_only=options.boilerplate_only,
                write_graph=options.write_graph,
                stop_on_first_crash=options.stop_on_first_crash,
                offline=options.offline,
                run_id=options.run_uuid,
                verbose=options.verbose,
                command=('mriprep', *argv),
            ),
            settings_of(options),
            resources_of(options),
        )
    except (RefusalError, SettingsError) as exc:
        print(f'mriprep: {exc}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('mriprep: interrupted; the same command goes on where it was', file=sys.stderr)
        return 130
    except Exception as exc:  # noqa: BLE001 - the last place to put an error into words
        return _unexpected(exc)


def _unexpected(exc: Exception) -> int:
    """Word an error that nobody foresaw; its traceback goes to the log."""
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        print(
            f'mriprep: {exc.filename or "the disk"}: no space left; make room, or choose another '
            'OUT_DIR or work folder (-w), and give the same command again',
            file=sys.stderr,
        )
        return 1
    import logging

    words = ' '.join(str(exc).split())
    logging.getLogger('mriprep').error('unexpected error', exc_info=exc)
    print(
        f'mriprep: unexpected error ({type(exc).__name__}: {words}); the newest '
        'logs/*/mriprep.log in OUT_DIR tells where it came from; please report it',
        file=sys.stderr,
    )
    return 1
