"""What the agent reads from HAProxy and writes on the wire, as plain data."""

import pytest

from statera.agent.announce import advertisement, arp_frame
from statera.agent.engine import shorten
from statera.agent.runtime import list_old_workers, parse_processes
from statera.agent.server_state import HEADER as STATE_HEADER
from statera.agent.server_state import make_state
from statera.agent.statistics import parse_process, parse_statistics
from statera.model.document import Document, Server, ServersPart
from statera.model.heartbeat import ListenerState, MemberState

LISTENER, POOL = "1" * 8 + "-1111-4111-8111-" + "1" * 12, "2" * 8 + "-2222-4222-8222-" + "2" * 12
MEMBER = "3" * 8 + "-3333-4333-8333-" + "3" * 12
HEADER = "# pxname,svname,scur,slim,stot,bin,bout,ereq,status,lastchg,check_status,check_code,last_chk,"


def _statistics(*rows: str) -> str:
    return "\n".join([HEADER, *rows, ""])


def test_a_listener_and_its_members_are_read() -> None:
    listeners, members = parse_statistics(
        _statistics(
            f"{LISTENER},FRONTEND,3,100,40,1000,2000,1,OPEN,,,,,",
            f"{POOL}:{LISTENER},{MEMBER},1,,30,,,,DOWN 1/2,12,L7STS,503,Service Unavailable,",
            f"{POOL}:{LISTENER},BACKEND,1,,30,,,,UP,12,,,,",
            "<HTTPCLIENT>,FRONTEND,0,0,0,0,0,0,OPEN,,,,,",
        )
    )
    assert [(one.id, one.status, one.active_connections, one.total_connections) for one in listeners] == [
        (LISTENER, ListenerState.OPEN, 3, 40)
    ]
    (member,) = members
    assert (member.pool_id, member.member_id, member.state) == (POOL, MEMBER, MemberState.DOWN)
    assert (member.check, member.code, member.text, member.since_s) == ("L7STS", 503, "Service Unavailable", 12.0)


def test_a_member_of_two_listeners_counts_by_its_better_side() -> None:
    other = "4" * 8 + "-4444-4444-8444-" + "4" * 12
    _, members = parse_statistics(
        _statistics(
            f"{POOL}:{LISTENER},{MEMBER},0,,0,,,,DOWN,1,L4CON,,refused,",
            f"{POOL}:{other},{MEMBER},0,,0,,,,UP,1,L7OK,200,,",
        )
    )
    assert [member.state for member in members] == [MemberState.UP]


def test_words_with_commas_and_quotes_are_read() -> None:
    listeners, (first, second) = parse_statistics(
        _statistics(
            f"{LISTENER},FRONTEND,3,100,40,1000,2000,1,OPEN,,,,,",
            f'{POOL}:{LISTENER},{MEMBER},1,,30,,,,DOWN,12,L7STS,503,"no, not ""now""",',
            f"{POOL}:{LISTENER},{MEMBER[::-1]},1,,30,,,,UP,13,L7OK,200,fine,",
        )
    )
    assert (first.text, second.text) == ('no, not "now"', "fine")
    assert (second.state, second.since_s, len(listeners)) == (MemberState.UP, 13.0, 1)


def test_a_listener_at_its_limit_is_full() -> None:
    (listener,), _ = parse_statistics(_statistics(f"{LISTENER},FRONTEND,100,100,400,0,0,0,OPEN,,,,,"))
    assert listener.status == ListenerState.FULL


@pytest.mark.parametrize("number", ["²", "-1", "9" * 30, "9" * 5000])
def test_numbers_that_nothing_can_hold_are_none(number: str) -> None:
    row = f"{LISTENER},FRONTEND,{number},100,{number},{number},2000,1,OPEN,,,,,"
    member = f"{POOL}:{LISTENER},{MEMBER},1,,30,,,,DOWN,{number},L7STS,{number},Service Unavailable,"
    ((listener,), (seen,)) = parse_statistics(_statistics(row, member))
    assert (listener.active_connections, listener.bytes_in, listener.bytes_out) == (0, 0, 2000)
    assert (seen.code, seen.since_s) == (None, 0.0)
    assert parse_process(f"Pid: {number}\nStart_time_sec: {number}\n") == 0
    assert parse_processes(f"{number}    master  0 [failed: 0]  0d\n") is None
    assert list_old_workers(f"{number}    worker  1  0d\n") == []


def test_the_process_that_counts_is_told_apart() -> None:
    info = "Name: HAProxy\nPid: 18411\nUptime_sec: 1\nStart_time_sec: {}\n\n"
    texts = [info.format(start) + _statistics(f"{LISTENER},FRONTEND,0,1,0,0,0,0,OPEN,,,,,") for start in (7, 8)]
    first, second = map(parse_process, texts)
    assert 0 < first < second < 2**63
    assert len(parse_statistics(texts[0])[0]) == 1
    assert parse_process(_statistics()) == 0


def test_the_masters_processes_are_read() -> None:
    text = (
        "#<PID>          <type>          <reloads>       <uptime>        <version>\n"
        "10              master          2 [failed: 1]   0d00h00m02s     2.6.12\n"
        "# workers\n"
        "12              worker          0               0d00h00m01s     2.6.12\n"
        "# old workers\n"
        "11              worker          1               0d00h00m02s     2.6.12\n"
    )
    told = parse_processes(text)
    assert told is not None
    assert (told.failed, told.workers) == (1, frozenset({12}))
    assert parse_processes("") is None
    assert list_old_workers(text) == [11]


def test_only_unchanged_servers_keep_their_state() -> None:
    def document(weight: int, *names: str) -> Document:
        servers = tuple(Server(name=name, address="10.0.0.1", port=80, weight=1, enabled=True) for name in names)
        changed = Server(name="c", address="10.0.0.1", port=80, weight=weight, enabled=True)
        return Document(parts=(ServersPart(backend="b", dynamic=True, servers=(*servers, changed)),))

    state = "1\n# be_id be_name srv_id srv_name\n3 b 1 a 2 0\n3 b 2 gone 2 0\n3 b 3 c 2 0\n"
    kept = make_state(state, document(1, "a", "gone"), document(2, "a", "new"))
    assert kept == f"1\n{STATE_HEADER}\n3 b 1 a 2 0\n"
    assert make_state("", None, document(1, "a")) == "1\n"


def test_alerts_are_what_is_told() -> None:
    words = "[NOTICE]   (7) : version 2.6\n[ALERT]    (7) : config : unknown keyword 'x'\n[WARNING]  (7) : careful"
    assert shorten(words) == "config : unknown keyword 'x'"
    assert len(shorten("x" * 5000)) == 600


def test_announcements_have_the_form_of_their_protocols() -> None:
    mac, address = bytes.fromhex("020000000001"), bytes([10, 0, 0, 5])
    frame = arp_frame(mac, address)
    assert len(frame) == 42
    assert frame[:6] == b"\xff" * 6
    assert frame[28:32] == frame[38:42] == address
    message = advertisement(mac, bytes(16))
    assert (message[0], message[4], len(message)) == (136, 0x20, 32)
