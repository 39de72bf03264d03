"""What the kernel tells of IPVS, as plain data: read, compared with what keepalived was given, counted.

No kernel that tests run on has had IPVS yet: the texts are written after linux, net/netfilter/ipvs/ip_vs_ctl.c.
"""

from pathlib import Path

import pytest

from statera.agent import installed
from statera.agent.ipvs import count_active, find_version, parse_file, parse_table, tell_difference
from statera.agent.keepalived import list_words
from statera.agent.lvs import BALANCING, shorten
from statera.agent.vrrp import SHARING
from statera.base.settings import AgentSettings, Settings
from statera.model.engines import EngineName
from tests.golden.engines import make_document, render_case

HEAD = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
"""
PLAIN = f"""\
{HEAD}UDP  C000020A:0035 wrr
  -> C6336401:0035      Masq    3      2          5
UDP  [2001:0db8:0000:0000:0000:0000:0000:0010]:0035 wrr
  -> [2001:0db8:0001:0000:0000:0000:0000:0002]:14E9      Masq    1      0          1
"""
SCTP = f"""\
{HEAD}SCTP C000020A:0B59 mh
  -> C6336402:0B59      Masq    2      7          9
  -> C6336401:0B59      Masq    1      0          0
"""
STICKY = f"""\
{HEAD}FWM  00000001 rr
  -> C6336409:0050      Route   1      0          0
UDP  C000020A:0035 wrr persistent 90000 FFFFFFFF
  -> C6336401:0035      Masq    1      0          0
"""


def test_the_table_is_what_the_file_asked_for() -> None:
    for case, table in (("plain", PLAIN), ("sctp", SCTP)):
        assert tell_difference(parse_file(render_case(case, EngineName.LVS)), parse_table(table)) == ""
    assert parse_table(HEAD) == parse_file("global_defs {\n}\n") == {}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (HEAD, "it lacks UDP 192.0.2.10:53"),
        (PLAIN.replace(":0035 wrr", ":0036 wrr", 1), "it lacks UDP 192.0.2.10:53"),
        (PLAIN + SCTP.removeprefix(HEAD), "it still holds SCTP 192.0.2.10:2905"),
        (PLAIN.replace("Masq    3", "Masq    2"), "it holds UDP 192.0.2.10:53 as it was before"),
        (PLAIN.replace("C6336401", "C6336402"), "it holds UDP 192.0.2.10:53 as it was before"),
        (PLAIN.replace(":0035 wrr", ":0035 wlc"), "it holds UDP 192.0.2.10:53 as it was before"),
        (PLAIN.replace(":0035 wrr\n", ":0035 wrr persistent 90000 FFFFFFFF\n", 1), "it holds UDP 192.0.2.10:53"),
        (PLAIN.replace("0002]:14E9", "0003]:14E9"), "it holds UDP [2001:db8::10]:53 as it was before"),
    ],
)
def test_a_table_that_is_not_the_files_is_told(table: str, words: str) -> None:
    assert tell_difference(parse_file(render_case("plain", EngineName.LVS)), parse_table(table)).startswith(words)


def test_persistence_is_seen_and_marks_of_others_are_not_ours() -> None:
    ((place, one),) = parse_table(STICKY).items()
    assert (place, one.is_persistent, list(one.servers)) == (("UDP", "192.0.2.10", 53), True, [("198.51.100.1", 53)])
    assert parse_file(render_case("affinity", EngineName.LVS))[place] == one


@pytest.mark.parametrize(
    "line", ["UDP\n", "  -> C6336401:0035 Masq 1\n", "UDP  xyz:0035 wrr\n", "UDP  [1:2]:0035 wrr\n"]
)
def test_what_is_no_table_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_table(HEAD + line)


def test_flows_of_udp_are_all_and_those_of_sctp_the_established_ones() -> None:
    plain, sctp = make_document("plain", EngineName.LVS), make_document("sctp", EngineName.LVS)
    assert count_active(plain, parse_table(PLAIN)) == {"dns": 2 + 5 + 0 + 1, "ntp": 0}
    assert count_active(sctp, parse_table(SCTP)) == {"signalling": 7}
    assert count_active(plain, {}) == {"dns": 0, "ntp": 0}


def test_ipvs_is_there_where_its_table_and_its_tracking_are(tmp_path: Path) -> None:
    table, settings = tmp_path / "ip_vs", tmp_path / "conntrack"
    assert find_version(table, settings) is None
    table.write_text(HEAD)
    assert find_version(table, settings) is None
    settings.write_text("0\n")
    assert find_version(table, settings) == "1.2.1"
    table.write_text("something else\n")
    assert find_version(table, settings) is None


def test_two_keepaliveds_share_no_file() -> None:
    one, other = list_words(BALANCING), list_words(SHARING)
    assert one == [
        "keepalived", "--dont-fork", "--check", "--log-console", "--log-detail",
        "--use-file=/run/statera-amphora/lvs.conf", "--pid=/run/statera-amphora/live/keepalived-lvs-parent",
        "--checkers_pid=/run/statera-amphora/live/keepalived-lvs",
    ]  # fmt: skip
    assert not {word for word in one if "=" in word} & {word for word in other if "=" in word}


def test_keepaliveds_words_are_shortened_to_what_is_wrong() -> None:
    words = (
        "Sat Nov 21 14:08:42 2026: Starting Keepalived v2.2.7 (01/16,2022)\n"
        "Sat Nov  1 14:08:42 2026: IPVS: Can't initialize ipvs: No such file or directory\n"
        "Sat Nov 21 14:08:42 2026: Stopped Keepalived v2.2.7 (01/16,2022)\n"
    )
    assert shorten(words) == "IPVS: Can't initialize ipvs: No such file or directory"
    assert shorten("nothing of this kind") == "nothing of this kind"
    assert len(shorten("IPVS: " + "x" * 2000)) == 600


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_loaded_module_is_used_unless_the_operator_says_no(is_wanted: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installed, "find_version", lambda: "1.2.1")
    settings = Settings(agent=AgentSettings(ipvs=is_wanted))
    assert (EngineName.LVS in installed.find_engine_versions(settings)) == is_wanted
