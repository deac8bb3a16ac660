"""`PacketDevice` with a device in Python: what it does with maps, models and lost devices."""

import numpy as np
import pytest
from far_end import Line, reply_to

from adakern.device.packet_device import JOB, BatchInterrupted, PacketDevice, Record
from adakern.parameters import SpnParameters
from adakern_spec import protocol
from adakern_spec.digest import spec_digest
from adakern_spec.errors import DeviceError, InputError
from adakern_spec.network import SpnShape
from adakern_spec.protocol import ErrorCode, Request, Status

RESULT = Record(protocol.RESULT_FIELDS)
SHAPE = SpnShape((2, 2), height=3, max_length=400)


def take_into(target, source):
    for item in source:
        target.append(item)


class SummingDevice:
    """A device in Python whose scales are sums: what `PacketDevice` needs of one, on a perfect line."""

    def __init__(self, shape=SHAPE, window=8, payload=512):
        self.window, self.payload = window, payload
        self.digest = spec_digest(shape)
        self.shape = shape
        self.store = bytearray(10_000)
        self.crc, self.valid, self.job = 0, 0, None
        self.loads = 0
        self.alive = True

    def restart(self):
        self.__init__(self.shape, self.window, self.payload)
        self.epoch = None

    def __call__(self, packet):
        if not self.alive:
            return []
        if packet.type == Request.SYNC:
            self.epoch = packet.epoch
            return [reply_to(packet)]
        if packet.epoch != self.epoch:
            return []
        return [
            reply_to(packet, payload=getattr(self, f"on_{Request(packet.type).name.lower()}")(packet.payload))
        ]

    def on_identity(self, payload):
        values = [
            self.digest,
            1,
            10**6,
            self.shape.max_length,
            3,
            2,
            2,
            self.window,
            self.payload,
            1,
            9,
            100,
            self.crc,
            self.valid,
        ]
        return Record(protocol.IDENTITY_FIELDS).pack(*values)

    def on_parameter_write(self, payload):
        first = int.from_bytes(payload[:4], "little")
        self.store[first : first + len(payload) - 4] = payload[4:]
        return b""

    def on_parameter_read(self, payload):
        first = int.from_bytes(payload[:4], "little")
        return bytes(self.store[first : first + payload[4]])

    def on_parameter_commit(self, payload):
        self.crc, self.valid = int.from_bytes(payload, "little"), 1
        self.loads += 1
        return payload

    def on_data(self, payload):
        number, length, left, total = self.job
        left, total = left - len(payload), total + sum(payload)
        self.job = (number, length, left, total)
        if left:
            return b""
        return RESULT.pack(number, self.crc, 100, 10, total % 65536, length, 0, 0)

    def on_job(self, payload):
        values = JOB.unpack(payload)
        self.job = (values["job"], values["length"], self.shape.map_bytes(values["length"]), 0)
        return b""


def maps_of(count, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, SHAPE.max_length, count)
    return [rng.integers(0, 256, (2, 3, length), dtype=np.uint8) for length in lengths]


def expected(maps):
    return [(int(values.sum()) % 65536, values.shape[2]) for values in maps]


@pytest.fixture
def parameters():
    return SpnParameters.random(SHAPE, np.random.default_rng(5))


def test_maps_travel_length_major(parameters):
    seen = bytearray()
    far = SummingDevice()
    respond = far.on_data
    far.on_data = lambda payload: seen.extend(payload) or respond(payload)
    device = PacketDevice(Line(far), SHAPE)
    device.load(parameters, verify=True)
    (values,) = maps_of(1)
    (answer,) = device.stream([values])
    assert bytes(seen) == bytes(
        int(values[channel, row, column])
        for column in range(values.shape[2])
        for row in range(3)
        for channel in range(2)
    )
    assert answer.scales == expected([values])[0]
    assert answer.cycles == 90
    assert device.read_parameters() == parameters.to_block()


@pytest.mark.parametrize(("window", "payload"), [(1, 64), (2, 256), (8, 512)])
def test_requests_keep_to_the_room_that_the_device_has(parameters, window, payload):
    far = SummingDevice(window=window, payload=payload)
    line = Line(far)
    device = PacketDevice(line, SHAPE)
    device.load(parameters)
    maps = maps_of(5)
    assert [answer.scales for answer in device.stream(maps)] == expected(maps)
    sizes = [len(packet.payload) for packet in line.written]
    assert max(sizes) == payload
    assert device.link.window == window


@pytest.mark.parametrize(("window", "payload"), [(0, 512), (3, 512), (16, 512), (8, 48), (8, 1024)])
def test_room_that_no_device_has_is_refused(window, payload):
    with pytest.raises(DeviceError, match="the device claims a"):
        PacketDevice(Line(SummingDevice(window=window, payload=payload)), SHAPE)


def test_wrong_digest_names_both_and_closes():
    line = Line(SummingDevice(SpnShape((2, 2), height=4)))
    with pytest.raises(DeviceError) as caught:
        PacketDevice(line, SHAPE)
    assert spec_digest(SHAPE).hex() in str(caught.value)
    assert spec_digest(SpnShape((2, 2), height=4)).hex() in str(caught.value)
    assert line.closed == 1


def test_stream_without_a_model_is_refused(parameters):
    device = PacketDevice(Line(SummingDevice()), SHAPE)
    with pytest.raises(DeviceError, match="no parameters"):
        next(device.stream(maps_of(1)))
    with pytest.raises(DeviceError, match="shape"):
        device.load(SpnParameters.random(SpnShape((2, 1), height=3), np.random.default_rng(0)))


def test_maps_are_drawn_as_the_window_opens(parameters):
    device = PacketDevice(Line(SummingDevice()), SHAPE)
    device.load(parameters)
    drawn = []

    def source():
        for values in maps_of(50):
            drawn.append(values)
            yield values

    for count, _ in enumerate(device.stream(source()), 1):
        assert len(drawn) - count <= protocol.WINDOW
    assert count == 50


def test_answers_ahead_of_a_bad_map_come_first(parameters):
    device = PacketDevice(Line(SummingDevice()), SHAPE)
    device.load(parameters)
    maps = maps_of(4)
    answers = []
    with pytest.raises(InputError, match="map 4: shape"):
        take_into(answers, device.stream([*maps, np.zeros((2, 4, 1), np.uint8)]))
    assert [answer.scales for answer in answers] == expected(maps)
    assert [answer.scales for answer in device.stream(maps)] == expected(maps)


def test_stream_left_early_leaves_the_device_usable(parameters):
    device = PacketDevice(Line(SummingDevice()), SHAPE)
    device.load(parameters)
    maps = maps_of(6)
    assert next(device.stream(maps)).scales == expected(maps)[0]
    assert [answer.scales for answer in device.stream(maps)] == expected(maps)


def test_restart_in_mid_batch_is_mended_once_and_silently(parameters):
    far = SummingDevice()
    device = PacketDevice(Line(far), SHAPE)
    device.load(parameters)
    maps = maps_of(12)
    answers = []
    for answer in device.stream(maps):
        answers.append(answer.scales)
        if len(answers) == 5:
            far.restart()
    assert answers == expected(maps)
    assert far.loads == 1


def test_device_lost_in_mid_batch_says_how_many_are_done(parameters):
    far = SummingDevice()
    device = PacketDevice(Line(far), SHAPE)
    device.load(parameters)
    maps = maps_of(12)
    answers = []

    def until_lost():
        for answer in device.stream(maps):
            answers.append(answer.scales)
            far.alive = len(answers) < 5

    with pytest.raises(BatchInterrupted, match=r"after \d+ maps of the batch") as caught:
        until_lost()
    assert 5 <= caught.value.done == len(answers) < len(maps)
    far.alive = True
    answers += [answer.scales for answer in device.stream(maps[caught.value.done :])]
    assert answers == expected(maps)


@pytest.mark.parametrize("field", ["job", "parameter_crc"])
def test_answer_of_another_job_or_model_is_refused(parameters, field):
    far = SummingDevice()
    device = PacketDevice(Line(far), SHAPE)
    device.load(parameters)
    respond = far.on_data

    def wrong(payload):
        values = RESULT.unpack(reply) if len(reply := respond(payload)) else {}
        return RESULT.pack(*(values | {field: values[field] ^ 1}).values()) if values else reply

    far.on_data = wrong
    with pytest.raises(BatchInterrupted, match="is not that of job"):
        list(device.stream(maps_of(1)))


def test_port_that_goes_away_in_mid_batch_keeps_the_answers(parameters):
    device = PacketDevice(Line(SummingDevice()), SHAPE)
    device.load(parameters)
    line, maps, answers = device.link.transport, maps_of(12), []

    def gone(*_):
        raise DeviceError("port is gone", "line", "plug the board in and open it again")

    def until_gone():
        for answer in device.stream(maps):
            answers.append(answer.scales)
            if len(answers) == 3:
                line.read = gone

    with pytest.raises(BatchInterrupted, match=r"gone \(after \d+ maps of the batch\); plug") as caught:
        until_gone()
    assert caught.value.done == len(answers) >= 3
    assert answers == expected(maps)[: len(answers)]


def test_other_calls_between_two_answers_lose_none(parameters):
    far = SummingDevice()
    far.on_counters = lambda payload: bytes(protocol.fields_size(protocol.COUNTER_FIELDS))
    device = PacketDevice(Line(far), SHAPE)
    device.load(parameters)
    maps, others = maps_of(9), maps_of(9, 1)
    answers = []
    for answer in device.stream(maps):
        answers.append(answer.scales)
        assert device.counters()["maps"] == 0
    assert answers == expected(maps)
    both = zip(device.stream(maps), device.stream(others), strict=True)
    assert [(a.scales, b.scales) for a, b in both] == list(zip(expected(maps), expected(others), strict=True))


def test_another_model_amid_a_batch_is_an_error(parameters):
    device = PacketDevice(Line(SummingDevice()), SHAPE)
    device.load(parameters)
    stream = device.stream(maps_of(9))
    next(stream)
    device.load(SpnParameters.random(SHAPE, np.random.default_rng(6)))
    with pytest.raises(DeviceError, match="another model was loaded after 1 maps"):
        next(stream)


@pytest.mark.parametrize(("times", "ends"), [(2, False), (100, True)])
def test_engine_that_times_out_is_tried_again(parameters, times, ends):
    left = [times]
    far = SummingDevice()

    def respond(packet):
        if packet.type == Request.DATA and left[0]:
            left[0] -= 1
            return [reply_to(packet, Status.ERROR, bytes([ErrorCode.TIMEOUT]))]
        return far(packet)

    device = PacketDevice(Line(respond), SHAPE)
    device.load(parameters)
    maps = [values[:, :, :80] for values in maps_of(3)]
    if ends:
        with pytest.raises(BatchInterrupted, match=r"timeout.*\(after 0 maps"):
            list(device.stream(maps))
    else:
        assert [answer.scales for answer in device.stream(maps)] == expected(maps)


@pytest.mark.parametrize("size", [16, 46, 64])
def test_identity_of_another_protocol_version_names_both_digests(size):
    far = SummingDevice()
    far.on_identity = lambda payload: bytes(range(size))
    with pytest.raises(DeviceError, match=bytes(range(16)).hex()):
        PacketDevice(Line(far), SHAPE)
    far.on_identity = lambda payload: spec_digest(SHAPE) + bytes(size)
    with pytest.raises(DeviceError, match=f"{size + 16} bytes where 51 are due"):
        PacketDevice(Line(far), SHAPE)


def test_cycles_are_right_when_the_counters_wrap(parameters):
    far = SummingDevice()
    device = PacketDevice(Line(far), SHAPE)
    device.load(parameters)
    far.on_data = lambda payload: RESULT.pack(far.job[0], far.crc, 100, (1 << 32) - 900, 0, 0, 0, 0)
    (answer,) = device.stream([maps_of(1)[0][:, :, :1]])
    assert answer.cycles == 1000
