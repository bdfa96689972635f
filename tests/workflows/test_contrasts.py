"""Wiring of sessions with several contrasts, runs, lesions, given files, and of several sessions."""

from __future__ import annotations

from dataclasses import fields, replace

import networkx as nx
import numpy as np
import pytest
from plans import EXTRACTION, VERSIONS, fake_template, image_record, make_inventory, settings_for
from test_wiring import expanded, follow, inputs_of, last, nodes
from wiring import dangling_ports

from mriprep.contrasts import Contrast
from mriprep.extractors.base import AtlasFiles
from mriprep.given import Given, GivenFile
from mriprep.naming import Output
from mriprep.plan import Place, plan_run
from mriprep.settings import Resources
from mriprep.workflows.longitudinal import init_subject_wf
from mriprep.workflows.subject import Sink, init_session_wf

RESOURCES = Resources(n_procs=4, n_threads=3, mem_gb=8)
T1W, T2W, FLAIR = (f'sub-01/anat/sub-01_{suffix}.nii.gz' for suffix in ('T1w', 'T2w', 'FLAIR'))
CE = 'sub-01/anat/sub-01_ce-gd_T1w.nii.gz'
TWO_SESSIONS = [
    f'sub-01/ses-{session}/anat/sub-01_ses-{session}_{suffix}.nii.gz'
    for session in 'ab'
    for suffix in ('FLAIR', 'T1w')
]


@pytest.fixture(scope='module')
def there(tmp_path_factory):
    """A file that stands for all that Nipype looks for."""
    import nibabel as nb

    path = tmp_path_factory.mktemp('files') / 'image.nii.gz'
    nb.save(nb.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), path)
    return path


@pytest.fixture(scope='module')
def plan_of(there):
    def plan(paths, *spaces, given=None, **values):
        settings = settings_for(*(spaces or ('A:res-1', 'B:cohort-2:res-2')), **values)
        templates = {
            space: fake_template(str(space), t1w=there, mask=there)
            for space in settings.output_spaces
            if not space.is_native
        }
        records = [replace(image_record(name), path=there) for name in paths]
        inventory = make_inventory(records)
        (subject,) = plan_run(
            inventory, settings, templates, VERSIONS, EXTRACTION, given or Given()
        )
        return settings, subject

    return plan


@pytest.fixture(scope='module')
def wire(plan_of, there, tmp_path_factory):
    """Make the workflow of a subject's first session, or of all that share a mean."""
    out_dir = tmp_path_factory.mktemp('out')
    atlas = AtlasFiles(**{item.name: there for item in fields(AtlasFiles)})

    def make(paths, *spaces, **values):
        settings, subject = plan_of(paths, *spaces, **values)
        sink = Sink(out_dir=out_dir, version='1.2.3', fingerprint='f')
        if subject.individual is not None:
            sinks = {session.name: sink for session in subject.sessions}
            return subject, init_subject_wf(subject, settings, RESOURCES, sinks, atlas)
        session = subject.sessions[0]
        return session, init_session_wf(session, settings, RESOURCES, sink, atlas)

    return make


def given_file(there):
    return GivenFile(path=there, dataset='mine', relative='x.nii.gz')


def sink_of(graph, derivative):
    (node,) = (
        node
        for node in graph
        if '.save_' in f'.{last(node.fullname)}'.replace('__save_', '.save_')
        and node.inputs.path == str(derivative.path)
    )
    return node


def made_by(graph, plan, output, **where):
    """Which node made the file that is saved as a planned derivative."""
    derivative = plan.derivative(output, **where)
    assert derivative is not None, (output, where)
    sink = sink_of(graph, derivative)
    for source, _, edge in graph.in_edges(sink, data=True):
        for out, into in edge['connect']:
            if into == 'in_file':
                return follow(graph, source, out)
    raise AssertionError(f'{derivative.path} gets nothing')


CASES = {
    'one': ([T1W], {}),
    'all five': ([CE, FLAIR, 'sub-01/anat/sub-01_PDw.nii.gz', T1W, T2W], {}),
    'no T1w': ([FLAIR], {}),
    'reference chosen': ([FLAIR, T1W, T2W], {'images': {'reference': 'FLAIR'}}),
    'masks of the reference': ([FLAIR, T1W], {'images': {'masks': 'reference'}}),
    'rigid': ([FLAIR, T1W], {'registration': {'transform': 'rigid'}}),
    'not normalised': ([FLAIR, T1W], {'normalization': 'none'}),
    'runs': (
        [f'sub-01/anat/sub-01_run-{run}_{suffix}.nii.gz' for suffix in ('T1w', 'T2w') for run in (1, 2, 3)],
        {'images': {'merge_runs': True}},
    ),
    'longitudinal': (TWO_SESSIONS, {'images': {'longitudinal': True}}),
}  # fmt: skip


@pytest.mark.parametrize('spaces', [('A:res-1', 'A:res-native', 'B:cohort-2:res-2'), ('T1w',)])
@pytest.mark.parametrize(('images', 'values'), CASES.values(), ids=CASES)
def test_everything_is_connected_and_every_planned_file_saved_once(wire, images, values, spaces):
    plan, workflow = wire(images, *spaces, **values)
    assert list(dangling_ports(workflow)) == []
    graph = expanded(workflow)
    saved = [node.inputs.path for node in graph if hasattr(node.inputs, 'space_code')]
    sessions = getattr(plan, 'sessions', [plan])
    planned = [str(item.path) for session in sessions for item in session.derivatives]
    if getattr(plan, 'individual', None) is not None:
        planned += [str(item.path) for item in plan.individual.derivatives]
    assert sorted(saved) == sorted(planned)
    assert len(set(planned)) == len(planned)


def test_each_contrast_is_registered_to_the_reference_s_brain(wire):
    _, workflow = wire([FLAIR, T1W])
    graph = expanded(workflow)
    got = inputs_of(graph, 'FLAIR_wf.coregister')
    assert got['in_reference'][0].endswith('native_wf.finish_wf.bias_wf.correct')
    assert got['in_reference_mask'][0].endswith('native_wf.believe')
    assert got['in_file'][0].endswith('FLAIR_wf.head_wf.conform')
    assert got['in_mask'][0].endswith('FLAIR_wf.brain_wf.extract')


def test_each_contrast_is_interpolated_once_from_its_own_grid(wire):
    _, workflow = wire([FLAIR, T1W], 'A:res-1')
    graph = expanded(workflow)
    onto = inputs_of(graph, 'FLAIR_wf.on_reference_wf.head')
    assert onto['input_image'][0].endswith('FLAIR_wf.finish_wf.bias_wf.correct')
    assert onto['transforms'] == (onto['transforms'][0], 'forward')
    assert onto['transforms'][0].endswith('FLAIR_wf.coregister')
    template = inputs_of(graph, 'A_wf.FLAIR_wf.res_1_wf.head')
    assert template['input_image'] == onto['input_image']
    assert template['transforms'][0].endswith('A_wf.FLAIR_wf.join_forward')


def test_joined_transforms_go_through_the_reference_in_the_right_order(wire):
    _, workflow = wire([FLAIR, T1W], 'A:res-1')
    graph = expanded(workflow)
    forward = inputs_of(graph, 'FLAIR_wf.forward_parts')
    assert [last(forward[key][0]) for key in ('in1', 'in2')] == ['register', 'coregister']
    assert [forward[key][1] for key in ('in1', 'in2')] == ['composite_transform', 'forward']
    inverse = inputs_of(graph, 'FLAIR_wf.inverse_parts')
    assert [last(inverse[key][0]) for key in ('in1', 'in2')] == ['coregister', 'register']
    assert [inverse[key][1] for key in ('in1', 'in2')] == [
        'inverse',
        'inverse_composite_transform',
    ]


def test_the_reference_s_mask_serves_all_contrasts_on_its_grid_and_in_templates(wire):
    plan, workflow = wire([FLAIR, T1W], 'A:res-1')
    graph = expanded(workflow)
    assert inputs_of(graph, 'FLAIR_wf.on_reference_wf.strip')['in_mask'][0].endswith('believe')
    mask = inputs_of(graph, 'A_wf.FLAIR_wf.res_1_wf.strip')['in_mask'][0]
    assert mask.endswith('A_wf.res_1_wf.mask')
    assert made_by(graph, plan, Output.BRAIN_MASK, contrast=Contrast.FLAIR)[0].endswith('choose')


def test_a_lesion_goes_to_every_grid_from_the_image_it_is_drawn_on(wire, there):
    given = Given(lesions={FLAIR: given_file(there)})
    plan, workflow = wire(
        [FLAIR, T1W, T2W], 'A:res-1', 'B', given=given, registration={'lesion_masking': True}
    )
    assert list(dangling_ports(workflow)) == []
    graph = expanded(workflow)
    took = 'FLAIR_wf.finish_wf.take_lesion'
    on_reference = inputs_of(graph, 'FLAIR_wf.lesion')
    assert on_reference['input_image'][0].endswith(took)
    assert on_reference['transforms'][0].endswith('FLAIR_wf.coregister')
    in_template = inputs_of(graph, 'A_wf.lesion_res_1_wf')
    assert in_template['input_image'][0].endswith(took)
    assert in_template['transforms'][0].endswith('A_wf.FLAIR_wf.join_forward')
    masked = inputs_of(graph, 'A_wf.registration_wf.register')
    assert masked['moving_image_masks'][1] == masked['fixed_image_masks'][1] == 'out_metric_mask'
    excluded = inputs_of(graph, 'A_wf.registration_wf.crop')['in_excluded']
    assert excluded[0].endswith('images_wf.FLAIR_wf.lesion')
    places = {item.place for item in plan.derivatives if item.output is Output.LESION}
    assert places == {Place.NATIVE, Place.REFERENCE, Place.TEMPLATE}


def test_a_lesion_leaves_the_metric_alone_unless_asked(wire, there):
    _, workflow = wire([T1W], 'A:res-1', given=Given(lesions={T1W: given_file(there)}))
    graph = expanded(workflow)
    assert 'moving_image_masks' not in inputs_of(graph, 'A_wf.registration_wf.register')
    assert inputs_of(graph, 'A_wf.lesion_res_1_wf')['transforms'][0].endswith('register')


def test_what_the_user_has_is_used_and_not_computed(wire, there):
    file = given_file(there)
    ways = {(FLAIR, 'FLAIR', 'T1w'), (FLAIR, 'T1w', 'FLAIR'), (T1W, 'T1w', 'A'), (T1W, 'A', 'T1w')}
    given = Given(
        masks={T1W: file, FLAIR: file},
        corrected={FLAIR: file, T1W: file},
        transforms=dict.fromkeys(ways, file),
    )
    _, workflow = wire([FLAIR, T1W], 'A:res-1', given=given)
    assert list(dangling_ports(workflow)) == []
    made = {last(name) for name in nodes(workflow)}
    assert not made & {'n4', 'register', 'coregister'}
    graph = expanded(workflow)
    assert {node.inputs.extractor for node in graph if last(node.fullname) == 'extract'} == {
        'given'
    }
    head = inputs_of(graph, 'A_wf.res_1_wf.head')
    assert last(head['transforms'][0]) == 'take_forward_A'
    assert last(head['input_image'][0]) == 'take_corrected'


def test_runs_are_averaged_before_anything_else(wire):
    images = [f'sub-01/anat/sub-01_run-{run}_T1w.nii.gz' for run in (1, 2, 3)]
    plan, workflow = wire(images, images={'merge_runs': True})
    graph = expanded(workflow)
    assert inputs_of(graph, 'native_wf.brain_wf.extract')['in_file'][0].endswith('head_wf.merge')
    joined = inputs_of(graph, 'head_wf.runs')
    assert [last(joined[f'in{n}'][0]) for n in (1, 2, 3)] == [f'conform_{n}' for n in (1, 2, 3)]
    selected = [
        node
        for node in graph
        if 'from_run' in last(node.fullname) and 'of_runs' in last(node.fullname)
    ]
    assert sorted(node.inputs.index for node in selected) == [[0], [1], [2]]
    names = [str(item.path) for item in plan.derivatives if item.output is Output.PREPROC]
    assert 'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz' in names


def test_sessions_reach_templates_through_their_mean(wire):
    subject, workflow = wire(TWO_SESSIONS, 'A:res-1', images={'longitudinal': True})
    graph = expanded(workflow)
    average = inputs_of(graph, 'individual_wf.all_preproc')
    assert sorted(average) == ['in1', 'in2']
    assert all('bias_wf.correct' in source for source, _ in average.values())
    registers = [node for node in graph if last(node.fullname) == 'register']
    assert len(registers) == 1
    for number, session in enumerate('ab', start=1):
        prefix = f'sub_01_ses_{session}_wf__'
        forward = inputs_of(graph, f'{prefix}parts_forward_A')
        assert last(forward['in1'][0]) == 'register'
        assert last(forward['in2'][0]) == f'to_individual{number}'
        inverse = inputs_of(graph, f'{prefix}parts_inverse_A')
        assert last(inverse['in1'][0]) == f'from_individual{number}'
        assert inverse['in2'][1] == 'inverse_composite_transform'
        head = inputs_of(graph, f'{prefix}templates_wf.A_wf.res_1_wf.head')
        assert last(head['transforms'][0]) == f'{prefix}join_forward_A'
    stamps = [node.inputs.path for node in graph if last(node.fullname).endswith('stamp')]
    assert len(stamps) == len(set(stamps)) == 3
    assert subject.individual.members == subject.sessions


def test_figures_feed_nothing_but_their_sinks(wire, there):
    given = Given(lesions={FLAIR: given_file(there)})
    plan, workflow = wire([FLAIR, T1W], 'A:res-1', given=given)
    graph = expanded(workflow)
    drawn = [node for node in graph if last(node.fullname).startswith('draw_')]
    assert len(drawn) == sum('/figures/' in str(item.path) for item in plan.derivatives)
    for node in drawn:
        (sink,) = graph.successors(node)
        assert last(sink.fullname).startswith('save_')
    for node in graph:
        path = getattr(node.inputs, 'path', '')
        if last(node.fullname).startswith('save_') and '/figures/' not in str(path):
            assert not [up for up in nx.ancestors(graph, node) if up in drawn]
