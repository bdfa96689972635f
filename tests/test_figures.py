"""Pictures of images: sides, positions, scale and contours are right; files are small and equal."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from PIL import Image

from mriprep.cuts import Cut, Frame, Plane, three_planes, through
from mriprep.figures import (
    bias_field,
    coregistration_overlay,
    histograms,
    lesion_contour,
    mask_contour,
    template_overlay,
)
from mriprep.mosaic import AMBER, CONTOUR, LESION, grey, window
from mriprep.svg import save_svg

SHAPE = (40, 50, 30)
AFFINE = np.array([[2.0, 0, 0, -40], [0, 1.5, 0, -30], [0, 0, 3, -20], [0, 0, 0, 1]])
BLOCK = np.s_[10:30, 12:40, 8:24]  # where the brain is


@pytest.fixture
def head():
    """Grey block in dark surroundings, brightest right, in front and on top, and its mask."""
    rng = np.random.default_rng(3)
    volume = rng.normal(5, 1, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, bool)
    mask[BLOCK] = True
    volume[mask] += 60
    volume[24:30, 34:40, 18:24] += 40
    return volume, mask


def _texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def _tilted(degrees):
    turn = np.radians(degrees)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return turned @ AFFINE


@pytest.mark.parametrize(
    ('plane', 'index', 'across'),
    [
        (Plane.AXIAL, 20, 'right'),
        (Plane.CORONAL, 36, 'right'),
        (Plane.SAGITTAL, 26, 'in front'),
    ],
)
def test_right_and_front_are_at_the_right_and_top_is_up(head, plane, index, across):
    volume, mask = head
    frame = Frame.around(mask, AFFINE)
    picture = frame.slice(volume, Cut(plane=plane, index=index))
    rows, columns = np.nonzero(picture > 85)
    assert columns.mean() > picture.shape[1] / 2, f'what is {across} must be at the right'
    assert rows.mean() < picture.shape[0] / 2


def test_left_is_left_in_the_finished_picture(head):
    volume, mask = head
    figure = mask_contour(volume, AFFINE, mask)
    raster = np.asarray(figure.axes[0].images[0].get_array())[..., 0]
    top = raster[: raster.shape[0] // 3]  # axial row, feet to head
    last = top[:, -top.shape[1] // 7 :]
    assert np.nonzero(last > 200)[1].mean() > np.nonzero(last > 100)[1].mean()
    texts = [text for text in figure.axes[0].texts if text.get_text() in ('L', 'R')]
    places = {
        letter: [t.get_position()[0] for t in texts if t.get_text() == letter] for letter in 'LR'
    }
    assert len(places['L']) == 14
    assert all(left < right for left, right in zip(places['L'], places['R'], strict=True))


def test_positions_are_world_coordinates():
    frame = Frame.around(np.ones(SHAPE, bool), AFFINE)
    assert frame.label(Cut(plane=Plane.AXIAL, index=10)) == 'z = +10 mm'
    assert frame.label(Cut(plane=Plane.CORONAL, index=0)) == 'y = −30 mm'
    assert frame.label(Cut(plane=Plane.SAGITTAL, index=5)) == 'x = −30 mm (L)'
    assert frame.label(Cut(plane=Plane.SAGITTAL, index=35)) == 'x = +30 mm (R)'
    assert frame.label(Cut(plane=Plane.SAGITTAL, index=20)) == 'x = 0 mm'


def test_tilt_is_measured_and_told(head):
    volume, mask = head
    assert Frame.around(mask, _tilted(12)).tilt == pytest.approx(12)
    assert any('tilted 12.0°' in text for text in _texts(mask_contour(volume, _tilted(12), mask)))
    assert not any('tilted' in text for text in _texts(mask_contour(volume, AFFINE, mask)))


def test_panels_have_the_shape_of_the_head_in_mm(head):
    _, mask = head
    frame = Frame.around(mask, AFFINE)
    # block plus 15 mm on each side, as far as the image goes
    assert frame.box == ((2, 38), (2, 50), (3, 29))
    assert frame.size(Plane.AXIAL) == (72, 72)
    assert frame.size(Plane.CORONAL) == (72, 78)
    assert frame.size(Plane.SAGITTAL) == (72, 78)


def test_contour_lies_on_the_border_of_the_mask(head):
    _, mask = head
    frame = Frame.around(mask, AFFINE)
    (line,) = frame.outline(mask, Cut(plane=Plane.CORONAL, index=20))
    # the block begins 8 voxels of 2 mm after the box, and 5 of 3 mm
    np.testing.assert_allclose(line.min(axis=0), (16, 15))
    np.testing.assert_allclose(line.max(axis=0), (56, 63))


def test_contour_of_a_mask_that_fills_the_image_is_closed():
    mask = np.ones((4, 5, 6), bool)
    (line,) = Frame.around(mask, np.eye(4)).outline(mask, Cut(plane=Plane.AXIAL, index=2))
    np.testing.assert_allclose(line.min(axis=0), (0, 0))
    np.testing.assert_allclose(line.max(axis=0), (4, 5))


def test_slices_spread_evenly_over_the_mask(head):
    _, mask = head
    axial, coronal, sagittal = three_planes(mask, 7)
    assert {cut.plane for cut in axial} == {Plane.AXIAL}
    for cuts, (first, last) in ((axial, (8, 23)), (coronal, (12, 39)), (sagittal, (10, 29))):
        indices = [cut.index for cut in cuts]
        assert first < indices[0]
        assert indices[-1] < last
        assert np.ptp(np.diff(indices)) <= 1


def test_other_axes_than_ras_are_refused(head):
    volume, mask = head
    with pytest.raises(ValueError, match='LAS'):
        mask_contour(volume, np.diag([-1.0, 1, 1, 1]), mask)


def test_other_grids_are_refused(head):
    volume, mask = head
    with pytest.raises(ValueError, match='one grid'):
        mask_contour(volume, AFFINE, mask[:-1])
    with pytest.raises(ValueError, match='one grid'):
        histograms(volume, volume, volume[..., 0], mask)


def test_empty_mask_is_drawn_and_told(head):
    volume, mask = head
    figure = mask_contour(volume, AFFINE, np.zeros_like(mask))
    assert any('EMPTY' in text for text in _texts(figure))
    assert np.asarray(figure.axes[0].images[0].get_array()).max() > 100


def test_a_second_mask_has_its_own_contour_and_all_of_both_is_shown(head):
    volume, mask = head
    rival = np.zeros_like(mask)
    rival[20:38, 12:40, 8:24] = True
    figure = mask_contour(volume, AFFINE, mask, rival=rival, remark='Blue: another.')
    one, two = figure.axes[0].collections
    drawn = {
        tuple(collection.get_edgecolor()[0]): sum(len(path) for path in collection.get_paths())
        for collection in (one, two)
    }
    assert len(drawn) == 2
    assert min(drawn.values()) > 0
    assert any('Blue: another.' in text for text in _texts(figure))
    # sagittal slices beyond the first mask show the second alone
    alone = mask_contour(volume, AFFINE, mask)
    assert _texts(alone) != _texts(figure)


def test_mask_volume_is_told(head):
    volume, mask = head
    millilitres = round(mask.sum() * 9 / 1000)
    texts = _texts(mask_contour(volume, AFFINE, mask))
    assert any(f'Brain mask: {millilitres} ml' in text for text in texts)
    assert '50 mm' in texts


def test_window_ignores_hot_and_missing_voxels(head):
    volume, mask = head
    low, high = window(volume, mask)
    assert 0 < low < 5
    assert 100 < high < 125
    volume[20, 20, 20:22] = np.nan, np.inf
    volume[0, 0, 0] = 1e9
    np.testing.assert_allclose(window(volume, mask), (low, high), rtol=0.02)


@pytest.mark.parametrize('value', [0.0, np.nan])
def test_constant_images_are_drawn(value):
    volume = np.full((5, 6, 7), value, np.float32)
    figure = mask_contour(volume, np.eye(4), np.ones((5, 6, 7), bool))
    assert np.asarray(figure.axes[0].images[0].get_array()).max() == 0


def test_grey_is_clipped_and_missing_is_black():
    picture = grey(np.array([[-5.0, 0, 5, 10, 99, np.nan]]), (0, 10))
    assert picture[0, :, 0].tolist() == [0, 0, 127, 255, 255, 0]


def test_field_is_red_where_it_brightened(head):
    volume, mask = head
    field = np.ones(SHAPE, np.float32)
    field[20:] = 1.2  # right half
    field[:20] = 1 / 1.2
    figure = bias_field(volume * field, volume, mask, AFFINE)
    raster = np.asarray(figure.axes[0].images[0].get_array()).astype(int)
    bottom = raster[-raster.shape[0] // 3 :, : raster.shape[1] // 6]  # field, first axial slice
    redder = bottom[..., 0] - bottom[..., 2]
    assert np.nonzero(redder > 100)[1].min() > np.nonzero(redder < -100)[1].max()
    assert any('0.83 to 1.20' in text for text in _texts(figure))


def test_no_field_gives_a_calm_picture(head):
    volume, mask = head
    figure = bias_field(volume, volume, mask, AFFINE)
    labels = [tick.get_text() for tick in figure.axes[1].get_yticklabels()]
    assert labels[0] == '0.95'
    assert labels[2] == '1.00'
    assert labels[-1] == '1.05'


def test_zeros_after_correction_do_not_matter(head):
    volume, mask = head
    after = volume.copy()
    after[:, :, :12] = 0
    figure = bias_field(volume, after, mask, AFFINE)
    assert any('1.00 to 1.00' in text for text in _texts(figure))


def test_histograms_tell_mean_and_deviation(head):
    volume, mask = head
    zscored = (volume - volume[mask].mean()) / volume[mask].std()
    zscored[20, 20, 20] = np.nan
    figure = histograms(volume, volume, zscored, mask)
    assert figure.axes[1].get_title() == 'After z-scoring: mean 0.00, deviation 1.00'
    figure = histograms(volume, volume, zscored * 2 + 1, mask)
    assert figure.axes[1].get_title() == 'After z-scoring: mean 1.00, deviation 2.00'


def test_histogram_peaks_stand_where_the_tissue_is(head):
    volume, mask = head
    (axes,) = histograms(volume, volume * 0.5, None, mask).axes
    before, after, outside = axes.lines
    for line, peak in ((before, 65), (after, 32.5), (outside, 2.5)):
        x, y = line.get_data()
        assert x[np.argmax(y)] == pytest.approx(peak, abs=3)


def test_empty_mask_gives_histograms(head):
    volume, mask = head
    figure = histograms(volume, volume, volume, np.zeros_like(mask))
    assert 'empty' in figure.axes[1].get_title()


def _images(text):
    root = ElementTree.fromstring(text.encode())
    for element in root.iter('{http://www.w3.org/2000/svg}image'):
        yield element, element.get('{http://www.w3.org/1999/xlink}href')


def test_svg_is_small_whole_and_reaches_for_nothing(head, tmp_path):
    volume, mask = head
    text = save_svg(mask_contour(volume, AFFINE, mask), tmp_path / 'x.svg').read_text()
    ((_, href),) = _images(text)
    picture = Image.open(io.BytesIO(base64.b64decode(href.split(',')[1])))
    assert picture.format == 'JPEG'
    assert picture.width <= 1920
    assert len(text) < 300_000
    links = re.findall(r'(?:href|src)="(?!data:|#)[^"]*"', text)
    assert not links
    root = ElementTree.fromstring(text.encode())
    assert root.get('width') is None
    assert root.get('viewBox')
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert 'pixelated' not in text


def test_svg_of_equal_figures_is_equal(head, tmp_path):
    volume, mask = head
    first, second = (
        save_svg(bias_field(volume, volume, mask, AFFINE), tmp_path / name).read_bytes()
        for name in ('a.svg', 'b.svg')
    )
    assert first == second


def test_saving_leaves_the_figure_as_it_was(head, tmp_path):
    volume, mask = head
    figure = mask_contour(volume, AFFINE, mask)
    before = np.array(figure.axes[0].images[0].get_array())
    save_svg(figure, tmp_path / 'x.svg')
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), before)


def test_overlay_shows_two_layers_in_turns(head, tmp_path):
    volume, mask = head
    template = np.where(mask, 50, 0).astype(np.float32)
    figure = template_overlay(volume, template, mask, AFFINE, names=('subject <1>', 'TPL'))
    text = save_svg(figure, tmp_path / 'x.svg').read_text()
    back, front = text.index('<g class="mriprep-back"'), text.index('<g class="mriprep-front"')
    assert back < text.index('>TPL<') < front < text.index('>subject &lt;1&gt;<')
    assert '.mriprep-flicker:hover .mriprep-front' in text
    assert 'class="mriprep-flicker" tabindex="0"' in text[: text.index('<title>')]
    (_, under), (_, over) = _images(text)
    assert under != over


def test_overlay_lines_up_both_layers(head):
    volume, mask = head
    figure = template_overlay(volume, volume, mask, AFFINE)
    below, above, lines = figure.axes
    back, front = (np.asarray(axes.images[0].get_array()) for axes in (below, above))
    np.testing.assert_array_equal(back, front)
    assert '50 mm' in [text.get_text() for text in lines.texts]
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 1]


def _raster(axes):
    return np.asarray(axes.images[0].get_array())[..., 0].astype(int)


def _colours(figure):
    return [to_hex(one.get_edgecolor()[0]) for axes in figure.axes for one in axes.collections]


def test_bright_liquor_leaves_tissue_visible(head):
    volume, mask = head
    volume[mask] = np.where(np.random.default_rng(1).random(mask.sum()) < 0.1, 1500.0, 200.0)
    low, high = window(volume, mask)
    assert 0.3 < (200 - low) / (high - low) < 0.6


def test_stripped_images_are_black_around_the_brain(head):
    volume, mask = head
    bare = np.where(mask, volume, 0)
    assert window(bare, mask)[0] == 0
    raster = _raster(mask_contour(bare, AFFINE, mask).axes[0])
    assert np.mean(raster == 0) > 0.3


def test_warnings_stand_above_the_slices_in_lines_that_fit(head):
    volume, mask = head
    plain = mask_contour(volume, AFFINE, mask)
    told = mask_contour(volume, AFFINE, mask, warning='Fluid is darker than it should be. ' * 8)
    lines = [text for text in told.axes[0].texts if text.get_color() == AMBER]
    assert len(lines) == 2
    assert ' '.join(text.get_text() for text in lines).count('Fluid') == 8
    assert told.get_figheight() > plain.get_figheight()
    highest = max(t.get_position()[1] for t in told.axes[0].texts if t.get_text() == 'L')
    assert min(text.get_position()[1] for text in lines) > highest
    renderer = FigureCanvasAgg(told).get_renderer()
    for text in lines:
        assert text.get_window_extent(renderer).x1 < told.bbox.x1


def test_the_other_contrast_lies_over_the_reference(head, tmp_path):
    volume, mask = head
    other = np.where(mask, 100 - volume, 0)
    figure = coregistration_overlay(
        other, volume, mask, AFFINE, names=('FLAIR', 'T1w, reference'), warning='It is doubtful.'
    )
    text = save_svg(figure, tmp_path / 'x.svg').read_text()
    back, front = text.index('<g class="mriprep-back"'), text.index('<g class="mriprep-front"')
    assert back < text.index('>T1w, reference<') < front < text.index('>FLAIR<')
    assert text.index('</g>', front) < text.index('>It is doubtful.<')
    assert 'brain of the T1w, reference' in text
    assert _colours(figure) == [CONTOUR]  # once, above both


def test_slices_of_thick_voxels_have_their_shape_in_mm():
    thick = np.diag([1.0, 1.0, 5.0, 1.0])
    mask = np.zeros((60, 60, 14), bool)
    mask[10:50, 10:50, 2:12] = True  # 40 x 40 x 50 mm
    frame = Frame.around(mask, thick)
    across, up = frame.size(Plane.CORONAL)
    assert (across, up) == (60, 70)
    (line,) = frame.outline(mask, Cut(plane=Plane.CORONAL, index=30))
    np.testing.assert_allclose(np.ptp(line, axis=0), (40, 50))


def test_a_stripped_subject_flickers_with_the_brain_of_the_template_alone(head):
    volume, mask = head
    volume += 30 * ~mask  # skin
    bare = np.where(mask, volume, 0)
    back, front, _ = template_overlay(bare, volume, mask, AFFINE).axes
    np.testing.assert_array_equal(_raster(back), _raster(front))


def test_nothing_is_hidden_of_a_whole_head_over_a_stripped_template(head):
    volume, mask = head
    volume += 30 * ~mask
    bare = np.where(mask, volume, 0)
    back, front, _ = template_overlay(volume, bare, mask, AFFINE).axes
    assert np.mean(_raster(front) > 0) > 1.2 * np.mean(_raster(back) > 0)


def test_lesions_are_cut_where_they_are():
    lesion = np.zeros((40, 50, 30), bool)
    lesion[5:9, 10:20, 12:25] = True
    lesion[30:36, 40:44, 2:4] = True
    for cuts in through(lesion, 6):
        indices = [cut.index for cut in cuts]
        assert len(set(indices)) == 6
        hits = [np.moveaxis(lesion, cuts[0].plane, 0)[index].any() for index in indices]
        assert all(hits)
        assert indices == sorted(indices)
    sagittal = [cut.index for cut in through(lesion, 6)[2]]
    assert min(sagittal) < 9
    assert max(sagittal) >= 30  # both pieces


@pytest.mark.parametrize('place', [0, 15, 29])
def test_a_lesion_of_one_voxel_is_shown_with_slices_beside_it(place):
    lesion = np.zeros((40, 50, 30), bool)
    lesion[20, 20, place] = True
    axial = [cut.index for cut in through(lesion, 5)[0]]
    assert len(axial) == 5
    assert place in axial
    assert np.ptp(axial) == 4


def test_lesion_is_red_and_its_volume_is_told(head):
    volume, mask = head
    lesion = np.zeros_like(mask)
    lesion[14:18, 20:24, 12:15] = True
    figure = lesion_contour(volume, AFFINE, mask, lesion)
    assert _colours(figure) == [CONTOUR, LESION]
    assert any('Red: lesion, 0.43 ml.' in text for text in _texts(figure))
    assert not any('outside' in text for text in _texts(figure))
    lesion[10:30, 20:24, 20:28] = True  # half of it above the brain
    texts = _texts(lesion_contour(volume, AFFINE, mask, lesion))
    assert any(
        re.fullmatch(r'4\d% of the lesion mask lies outside of the brain mask.', text)
        for text in texts
    )
    assert any('Red: lesion, 6.2 ml.' in text for text in texts)


def test_an_empty_lesion_mask_is_told(head):
    volume, mask = head
    texts = _texts(lesion_contour(volume, AFFINE, mask, np.zeros_like(mask)))
    assert any('THE LESION MASK IS EMPTY' in text for text in texts)


@pytest.mark.parametrize(('peak', 'scale', 'side'), [(30, 1, 'right'), (100, -1, 'left')])
def test_the_legend_of_histograms_leaves_the_curve_free(head, peak, scale, side):
    _, mask = head
    tail = np.random.default_rng(2).exponential(20, mask.shape).astype(np.float32)
    volume = peak + scale * np.minimum(tail, 90)
    figure = histograms(volume, volume, None, mask)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    box = axes.get_legend().get_window_extent().transformed(axes.transAxes.inverted())
    assert (box.x0 > 0.5) == (side == 'right')
