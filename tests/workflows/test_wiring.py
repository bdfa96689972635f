"""Wiring: ports that exist, one sink for each planned file, and figures that feed nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from plans import EXTRACTION, image_record, make_plans, settings_for
from wiring import dangling_ports

from mriprep.contrasts import Contrast
from mriprep.extractors.base import AtlasFiles
from mriprep.naming import PATTERNS, Kind
from mriprep.plan import plan_registrations
from mriprep.provenance import sidecar
from mriprep.settings import Registration, Resources, Settings
from mriprep.workflows import init_t1w_wf
from mriprep.workflows.brain import init_brain_wf
from mriprep.workflows.contrast import init_contrast_wf
from mriprep.workflows.native import init_native_wf
from mriprep.workflows.nodes import node_name
from mriprep.workflows.subject import Sink, init_session_wf, session_wf_name
from mriprep.workflows.template import init_template_wf
from mriprep.workflows.wiring import ImageWiring

RESOURCES = Resources(n_procs=4, n_threads=3, mem_gb=8)
HEAVY = {'extract', 'n4', 'register', 'head', 'mask', 'conform', 'correct', 'overlay'}
THREADED = {'extract', 'n4'}

SPACES = {
    'native': ('T1w',),
    'one': ('A:res-1',),
    'both': ('A:res-1', 'T1w'),
    'two': ('A:res-1', 'B:cohort-2:res-2'),
    'grids': ('A:res-1', 'A:res-2', 'A:res-native'),
    'res-native': ('A:res-native',),
    'all': ('A:res-native', 'B:cohort-3:res-1', 'T1w', 'B:cohort-4:res-1', 'A:res-2'),
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A template's image and mask; Nipype looks whether files of inputs are there."""
    import nibabel as nb

    folder = tmp_path_factory.mktemp('template')
    for name in ('t1w', 'mask'):
        image = nb.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4))
        nb.save(image, folder / f'{name}.nii.gz')
    return {'t1w': folder / 't1w.nii.gz', 'mask': folder / 'mask.nii.gz'}


def session_plan(files, settings, image='sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz'):
    ((session,),) = (
        plan.sessions for plan in make_plans([image_record(image)], settings, **files)
    )
    return session


def session_wf(files, tmp_path, *spaces, **values):
    settings = settings_for(*spaces, **values)
    plan = session_plan(files, settings)
    sink = Sink(out_dir=tmp_path / 'out', version='1.2.3', fingerprint='f')
    return plan, init_session_wf(plan, settings, RESOURCES, sink, atlas_of(files))


def atlas_of(files):
    """Five files that are there."""
    return AtlasFiles(**{item.name: files['mask'] for item in fields(AtlasFiles)})


def nodes(workflow):
    return {name: workflow.get_node(name) for name in workflow.list_node_names()}


def last(name):
    return name.rpartition('.')[2]


def expanded(workflow):
    """Graph of the nodes that would be run."""
    graph = workflow._create_flat_graph()
    assert nx.is_directed_acyclic_graph(graph)
    return graph


@pytest.mark.parametrize('registration', Registration)
@pytest.mark.parametrize('normalization', ['zscore', 'none'])
@pytest.mark.parametrize('spaces', SPACES.values(), ids=SPACES)
def test_session_wf_has_no_dangling_ports(files, tmp_path, spaces, registration, normalization):
    _, workflow = session_wf(
        files,
        tmp_path,
        *spaces,
        registration={'transform': registration.value},
        normalization=normalization,
    )
    assert list(dangling_ports(workflow)) == []
    assert nx.is_directed_acyclic_graph(expanded(workflow))


def templates_of(files, spaces):
    plan = session_plan(files, settings_for(*spaces))
    return [grid for registration in plan.registrations for grid in registration.grids]


@pytest.mark.parametrize('normalization', ['zscore', 'none'])
@pytest.mark.parametrize('spaces', SPACES.values(), ids=SPACES)
def test_t1w_wf_gives_what_it_promises(files, template_cache, spaces, normalization):
    settings = settings_for(*spaces, normalization=normalization)
    templates = templates_of(files, spaces)
    workflow = init_t1w_wf(settings, RESOURCES, templates, cache=template_cache)
    assert list(dangling_ports(workflow)) == []
    graph = expanded(workflow)
    (outputnode,) = (node for node in graph if node.fullname == 't1w_wf.outputnode')
    given = {
        into for _, _, edge in graph.in_edges(outputnode, data=True) for _, into in edge['connect']
    }
    promised = {'preproc', 'brain_mask', 'brain', 'audit', 'verdict'}
    if templates:
        promised |= {'forward', 'inverse', 'std_preproc', 'std_brain_mask', 'std_brain'}
        promised |= {'std_zscore'} if normalization == 'zscore' else set()
    assert given == promised
    for name, node in nodes(workflow).items():
        if last(name).startswith('all_'):
            count = (
                len(plan_registrations(templates))
                if 'ward' in name or 'inverse' in name
                else len(templates)
            )
            assert node.interface._numinputs == count, name


def wired(extraction, **values):
    return ImageWiring(contrast=Contrast.T2W, extraction=extraction, **values)


def test_other_factories_stand_alone(files):
    settings = Settings()
    registration = plan_registrations(templates_of(files, ('A:res-1',)))[0]
    for workflow in (
        init_native_wf(settings, RESOURCES, wired(EXTRACTION), atlas_of(files)),
        init_native_wf(settings, RESOURCES, wired(EXTRACTION.given()), atlas_of(files)),
        init_contrast_wf(settings, RESOURCES, wired(EXTRACTION), atlas_of(files)),
        init_contrast_wf(settings, RESOURCES, wired(None), atlas_of(files)),
        init_brain_wf(settings.brain, RESOURCES, EXTRACTION, atlas_of(files)),
        init_template_wf(settings, RESOURCES, registration),
        init_template_wf(
            settings, RESOURCES, registration, others=['T2w'], lesion='T2w', handed=True
        ),
    ):
        assert list(dangling_ports(workflow)) == []


@pytest.mark.parametrize('spaces', SPACES.values(), ids=SPACES)
def test_each_planned_file_has_one_sink_with_its_path_and_type(files, tmp_path, spaces):
    plan, workflow = session_wf(files, tmp_path, *spaces)
    sinks = [node for name, node in nodes(workflow).items() if last(name).startswith('save_')]
    by_path = {node.inputs.path: node.inputs for node in sinks}
    assert len(by_path) == len(sinks)
    assert set(by_path) == {str(item.path) for item in plan.derivatives}
    for item in plan.derivatives:
        inputs = by_path[str(item.path)]
        pattern = PATTERNS[item.output]
        assert inputs.dtype == pattern.dtype
        assert inputs.space_code == (1 if item.template is None else 4)
        assert inputs.base_directory == str(tmp_path / 'out')
        assert inputs.optional is item.optional
        if pattern.kind in (Kind.FIGURE, Kind.METRICS):
            assert inputs.metadata == {}
        else:
            assert inputs.metadata == sidecar(item, plan, '1.2.3')


def test_each_sink_gets_the_image_that_its_name_says(files, tmp_path):
    """Follow each sink to the node that made its image."""
    _, workflow = session_wf(files, tmp_path, *SPACES['all'])
    graph = expanded(workflow)
    made = {}
    for node in graph:
        if last(node.fullname).startswith('save_'):
            for source, _, edge in graph.in_edges(node, data=True):
                for out, into in edge['connect']:
                    if into == 'in_file':
                        made[node.inputs.path.rpartition('/')[2]] = follow(graph, source, out)
    native, b3 = 'images_wf.native_wf', 'templates_wf.B_3_wf'
    expected = {
        'sub-01_ses-a_desc-preproc_T1w.nii.gz': f'{native}.finish_wf.bias_wf.correct',
        'sub-01_ses-a_desc-brain_mask.nii.gz': f'{native}.believe',
        'sub-01_ses-a_desc-brain_T1w.nii.gz': f'{native}.finish_wf.strip',
        'sub-01_ses-a_desc-zscore_T1w.nii.gz': f'{native}.finish_wf.zscore',
        'sub-01_ses-a_from-T1w_to-B+3_mode-image_xfm.h5': f'{b3}.registration_wf.register',
        'sub-01_ses-a_space-B+3_res-1_desc-preproc_T1w.nii.gz': f'{b3}.res_1_wf.head',
        'sub-01_ses-a_space-B+3_res-1_desc-brain_mask.nii.gz': f'{b3}.res_1_wf.mask',
        'sub-01_ses-a_space-B+3_res-1_desc-brain_T1w.nii.gz': f'{b3}.res_1_wf.strip',
        'sub-01_ses-a_space-B+3_res-1_desc-zscore_T1w.nii.gz': f'{b3}.res_1_wf.zscore',
        'sub-01_ses-a_space-A_desc-brain_T1w.nii.gz': 'templates_wf.A_wf.res_native_wf.strip',
        'sub-01_ses-a_space-A_res-2_desc-brain_T1w.nii.gz': 'templates_wf.A_wf.res_2_wf.strip',
    }
    assert {name: made[name][0] for name in expected} == {
        name: f'sub_01_ses_a_wf.{maker}' for name, maker in expected.items()
    }
    forward = made['sub-01_ses-a_from-T1w_to-B+3_mode-image_xfm.h5'][1]
    inverse = made['sub-01_ses-a_from-B+3_to-T1w_mode-image_xfm.h5'][1]
    assert (forward, inverse) == ('composite_transform', 'inverse_composite_transform')


def follow(graph, node, port):
    """Go back through Identity nodes to the node that made a port's value, or where it is set."""
    from nipype.interfaces.base import isdefined
    from nipype.interfaces.utility import IdentityInterface

    port = port[0] if isinstance(port, tuple) else port
    if not isinstance(node.interface, IdentityInterface):
        return node.fullname, port
    if isdefined(getattr(node.inputs, port)):
        return node.fullname, port
    for source, _, edge in graph.in_edges(node, data=True):
        for out, into in edge['connect']:
            if into == port:
                return follow(graph, source, out)
    raise AssertionError(f'{node.fullname}.{port} gets nothing')


def inputs_of(graph, ending):
    """What feeds each connected input of the node whose name has this ending."""
    (node,) = (node for node in graph if node.fullname.endswith(ending))
    return {
        into: follow(graph, source, out)
        for source, _, edge in graph.in_edges(node, data=True)
        for out, into in edge['connect']
    }


def test_each_image_is_interpolated_once_from_its_own_grid(files, tmp_path):
    _, workflow = session_wf(files, tmp_path, 'A:res-1', 'A:res-2')
    graph = expanded(workflow)
    for grid in ('res_1_wf', 'res_2_wf'):
        head, mask = (inputs_of(graph, f'{grid}.{name}') for name in ('head', 'mask'))
        assert last(head['input_image'][0]) == 'correct'
        assert last(mask['input_image'][0]) == 'believe'
        assert last(head['transforms'][0]) == 'register'
        assert head['transforms'] == mask['transforms']
        assert head['transforms'][1] == 'composite_transform'


def test_registration_sees_brains_alone_the_template_fixed(files, tmp_path):
    _, workflow = session_wf(files, tmp_path, 'A:res-2')
    graph = expanded(workflow)
    register = inputs_of(graph, '.register')
    assert {into: last(node) for into, (node, _) in register.items()} == {
        'moving_image': 'crop',
        'fixed_image': 'crop_template',
    }
    assert last(inputs_of(graph, '.crop')['in_mask'][0]) == 'believe'


@pytest.mark.parametrize('registration', Registration)
def test_the_transform_that_is_saved_is_the_one_that_is_applied(files, tmp_path, registration):
    _, workflow = session_wf(
        files, tmp_path, 'A:res-1', registration={'transform': registration.value}
    )
    graph = expanded(workflow)
    forward = inputs_of(graph, '.save_forward_T1w_A_res_1')['in_file']
    inverse = inputs_of(graph, '.save_inverse_T1w_A_res_1')['in_file']
    assert forward == inputs_of(graph, 'res_1_wf.head')['transforms']
    assert forward[0] == inverse[0]
    assert forward[1] != inverse[1]


def test_heavy_nodes_say_what_they_need(files, tmp_path):
    _, workflow = session_wf(files, tmp_path, *SPACES['all'])
    found = set()
    for name, node in nodes(workflow).items():
        if last(name) in HEAVY:
            found.add(last(name))
            assert node._mem_gb != 0.2, f'{name} has the memory that Nipype assumes'
        if last(name) in THREADED:
            assert node.n_procs == RESOURCES.n_threads
            assert node.inputs.num_threads == RESOURCES.n_threads
        elif hasattr(node.inputs, 'num_threads'):
            # one thread is declared, so that one is used
            assert node.n_procs == 1
            assert node.inputs.num_threads == 1, name
    assert found == HEAVY


@pytest.mark.parametrize('kind', Registration)
def test_a_linear_registration_runs_on_one_thread_so_that_it_repeats(files, tmp_path, kind):
    _, workflow = session_wf(
        files, tmp_path, *SPACES['one'], registration={'transform': kind.value}
    )
    (node,) = (node for name, node in nodes(workflow).items() if last(name) == 'register')
    expected = RESOURCES.n_threads if kind is Registration.SYN else 1
    assert node.n_procs == node.inputs.num_threads == expected


def test_no_node_needs_more_than_a_small_machine_has(files, tmp_path):
    _, workflow = session_wf(files, tmp_path, *SPACES['all'])
    assert max(node._mem_gb for node in nodes(workflow).values()) <= 3


@pytest.mark.parametrize('threads', [1, 8])
def test_threads_are_no_part_of_a_node_s_identity(files, tmp_path, threads):
    def hashes(n_threads):
        settings = settings_for('A:res-1')
        workflow = init_session_wf(
            session_plan(files, settings),
            settings,
            Resources(n_procs=8, n_threads=n_threads),
            Sink(out_dir=tmp_path, version='1', fingerprint='f'),
            atlas_of(files),
        )
        return {
            name: node.inputs.get_hashval(hash_method='timestamp')[1]
            for name, node in nodes(workflow).items()
            if last(name) in THREADED
        }

    assert hashes(threads) == hashes(3)


def test_the_seed_is(files):
    registration = plan_registrations(templates_of(files, ('A:res-1',)))[0]
    seeds = {
        init_template_wf(settings_for('A', random_seed=seed), RESOURCES, registration)
        .get_node('registration_wf.register')
        .inputs.random_seed
        for seed in (1, 2)
    }
    assert seeds == {1, 2}


def is_report(node):
    name = last(node.fullname)
    return (
        name.startswith('draw_')
        or (name.startswith('save_') and name.endswith(('_figure',)))
        or '_figure' in name
    )


@pytest.mark.parametrize('spaces', [SPACES['native'], SPACES['all']], ids=['native', 'all'])
def test_figures_feed_their_sinks_alone(files, tmp_path, spaces):
    plan, workflow = session_wf(files, tmp_path, *spaces)
    graph = expanded(workflow)
    drawing = [node for node in graph if last(node.fullname).startswith('draw_')]
    planned = [d for d in plan.derivatives if PATTERNS[d.output].kind is Kind.FIGURE]
    assert len(drawing) == len(planned)
    for node in drawing:
        (sink,) = graph.successors(node)
        assert last(sink.fullname).startswith('save_')
        assert sink.inputs.path in {str(item.path) for item in planned}
        assert {last(after.fullname) for after in graph.successors(sink)} <= {'saved'}


def test_without_the_report_every_other_file_is_made_from_the_same(files, tmp_path):
    _, workflow = session_wf(files, tmp_path, *SPACES['all'])
    graph = expanded(workflow)
    images = [
        node
        for node in graph
        if last(node.fullname).startswith('save_') and '/figures/' not in node.inputs.path
    ]
    for sink in images:
        assert not [node for node in nx.ancestors(graph, sink) if is_report(node)]


@pytest.mark.parametrize('spaces', SPACES.values(), ids=SPACES)
def test_figures_are_drawn_from_saved_files(files, tmp_path, spaces):
    """All but what is not saved: header audit, image before N4, mask that is not believed yet."""
    _, workflow = session_wf(files, tmp_path, *spaces)
    graph = expanded(workflow)
    for node in graph:
        if last(node.fullname).startswith('draw_'):
            for source, _, edge in graph.in_edges(node, data=True):
                for out, into in edge['connect']:
                    if last(node.fullname) == 'draw_brain_figure_T1w':
                        continue
                    if into not in ('in_audit', 'in_before', 'in_verdict'):
                        assert last(source.fullname).startswith('save_'), (node, into, out)


def test_the_stamp_comes_after_every_file(files, tmp_path):
    plan, workflow = session_wf(files, tmp_path, *SPACES['two'])
    graph = expanded(workflow)
    (stamp,) = (node for node in graph if last(node.fullname) == 'stamp')
    before = {
        node.inputs.path
        for node in nx.ancestors(graph, stamp)
        if last(node.fullname).startswith('save_')
    }
    assert before == {str(item.path) for item in plan.derivatives}
    assert stamp.inputs.path == 'logs/finished/sub-01_ses-a.json'
    assert not list(graph.successors(stamp))


def test_node_names_are_unique_across_templates_sessions_and_odd_labels(files, tmp_path):
    settings = settings_for(*SPACES['all'])
    names = Counter()
    for image in (
        'sub-01/anat/sub-01_T1w.nii.gz',
        'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz',
        'sub-01/ses-1+2/anat/sub-01_ses-1+2_T1w.nii.gz',
    ):
        plan = session_plan(files, settings, image)
        sink = Sink(out_dir=tmp_path, version='1', fingerprint='f')
        workflow = init_session_wf(plan, settings, RESOURCES, sink, atlas_of(files))
        assert workflow.name == session_wf_name(plan)
        names[workflow.name] += 1
        names.update(f'{workflow.name}.{name}' for name in workflow.list_node_names())
    assert max(names.values()) == 1


@pytest.mark.parametrize('words', [('A', 'A:res-1'), ('A:res-01', 'A:res-1')])
def test_one_grid_under_two_names_can_be_wired(files, tmp_path, words):
    _, workflow = session_wf(files, tmp_path, *words)
    assert list(dangling_ports(workflow)) == []


@pytest.mark.parametrize(
    ('words', 'name'),
    [(('sub', 'a+b'), 'sub_a_b'), (('x', None, ''), 'x'), (('a.b', 'c'), 'a_b_c')],
)
def test_names_of_nodes(words, name):
    assert node_name(*words) == name


def test_wiring_reads_no_image(files, tmp_path, monkeypatch):
    """Factories read plan and settings, never the raw data, which is nowhere here."""
    import nibabel as nb

    monkeypatch.setattr(nb, 'load', lambda *a, **k: pytest.fail('an image is read'))
    plan, _ = session_wf(files, tmp_path, *SPACES['all'])
    assert not Path(plan.reference.path).exists()
    assert not (tmp_path / 'out').exists()
