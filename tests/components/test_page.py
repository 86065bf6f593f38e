import re

from components.page import Bar, Html, heading, histogram, page, table


def test_text_is_escaped_and_markup_is_not():
    html = page("a < b", "c & d", [heading("<h>"), table(("x",), [("<script>",), (Html("<b>bold</b>"),)])])
    assert "<script>" not in html
    for part in ("a &lt; b", "c &amp; d", "&lt;h&gt;", "&lt;script&gt;", "<b>bold</b>"):
        assert part in html


def test_bars_of_unequal_width_are_drawn_by_density():
    # Half of the values in a quarter of the axis, half in the rest: a third as high.
    picture = histogram([[Bar(0, 1, 0.5, ""), Bar(1, 4, 0.5, "")]], width=104, height=32)
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"><title', picture)]
    assert heights == [30.0, 10.0]


def test_one_value_is_drawn():
    assert histogram([[Bar(5, 5, 1.0, "5: 100%")]]).count("<rect") == 1


def test_nothing_is_drawn_of_nothing():
    assert histogram([[]]) == ""
