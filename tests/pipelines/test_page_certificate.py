from dataclasses import replace

from faultwatch_edge.certificate import Certificate
from pipelines.page_certificate import LimitCell, make_limit_table

COLUMNS = {"flow": "Flow [m3/h]", "mood": "mood", "valve": "valve"}


def test_the_table_is_in_the_words_of_the_file(certificate: Certificate) -> None:
    table = make_limit_table(certificate, COLUMNS, row_s=None, is_labelled=True)
    assert table.kinds == ("bias", "dropout")
    flow, mood = table.rows
    assert (flow.channel, mood.channel) == ("Flow [m3/h]", "mood")
    least = "\N{LESS-THAN OR EQUAL TO} 0.5 sd"
    assert flow.cells == (
        LimitCell(least, "1 m3/h · 10 min", "0"),
        LimitCell("found", "15 min", "found"),
    )
    assert mood.cells == (
        LimitCell("> 16 sd", "3 of 10 found", "none"),
        LimitCell("not found", "0 of 10 found", "none"),
    )


def test_the_rule_and_what_it_rests_on_are_said(certificate: Certificate) -> None:
    table = make_limit_table(certificate, COLUMNS, row_s=None, is_labelled=True)
    assert "would be found within 2 h." in table.lead
    assert "at 10 instants; it counts as found" in table.lead
    assert "came in time at 8 of them" in table.lead
    _, rests_on, left_out = table.notes
    assert rests_on == (
        "The same running without any fault raised 1 alarm in 20 scored days, 0.05 a day; the "
        "threshold promises 0.1."
    )
    assert left_out == "Not certified, constant in normal running: valve."


def test_colours_change_where_the_page_says_so(certificate: Certificate) -> None:
    limit, levels = certificate.limits[0], []
    for deviations in (0.5, 0.71, 1.0, 1.99, 2.0, 4.0, 8.0, 16.0):
        one = replace(certificate, limits=(replace(limit, deviations=deviations),))
        table = make_limit_table(one, COLUMNS, row_s=None, is_labelled=True)
        levels.append(table.rows[0].cells[0].level)
        assert table.levels == ("below 1 sd", "1 to 2", "2 to 4", "4 to 8", "8 to 16", "16")
    assert levels == ["0", "0", "1", "1", "2", "3", "4", "5"]


def test_without_times_delays_are_rows_and_nothing_is_a_day(certificate: Certificate) -> None:
    certificate = replace(certificate, uncertified=())
    table = make_limit_table(certificate, COLUMNS, row_s=60.0, is_labelled=False)
    assert "would be found within 120 rows." in table.lead
    assert table.rows[0].cells[0].remark == "1 m3/h · 10 rows"
    assert table.notes[1] == (
        "The same running without any fault raised 1 alarm. Nothing of it is labelled, so all of "
        "it counts as normal."
    )
