"""Files that mean harm, or pretend to be what they are not: each written by a function."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Write = Callable[[Path, Path], None]
"""Writes a file to the first path; the second one exists afterwards if the file's code ran."""

HOSTILE: dict[str, tuple[Write, str]] = {}
"""Name of an attack -> the function that writes its file, and what the refusal says."""

DATA = struct.pack("<4f", 1, 2, 3, 4)


def attack(message: str) -> Callable[[Write], Write]:
    """Enter a function into the table."""

    def enter(function: Write) -> Write:
        HOSTILE[function.__name__] = function, message
        return function

    return enter


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Storage:
    """Pickles as a storage of four numbers in the entry ``key`` of an archive."""

    def __init__(self, key: Any = "0", count: Any = 4, kind: Any = torch.FloatStorage) -> None:
        self.identifier = "storage", kind, key, "cpu", count


class Pickler(pickle.Pickler):
    """Writes storages as PyTorch does."""

    def persistent_id(self, value: Any) -> Any:
        return value.identifier if isinstance(value, Storage) else None


def tensor(shape: Any = (2, 2), stride: Any = (2, 1), offset: Any = 0, **storage: Any) -> Calls:
    """Pickles as a tensor."""
    return Calls(
        torch._utils._rebuild_tensor_v2, Storage(**storage), offset, shape, stride, False,
        OrderedDict(),
    )  # fmt: skip


def pickled(value: Any, protocol: int = 2) -> bytes:
    """The pickle that an archive holds."""
    from io import BytesIO

    out = BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


def archive(path: Path, program: bytes | Any, *more: tuple[Any, bytes], data: bytes = DATA) -> None:
    """An archive as `torch.save` writes it, with further entries."""
    program = program if isinstance(program, bytes) else pickled(program)
    entries = [("a/data.pkl", program), ("a/byteorder", b"little"), ("a/data/0", data)]
    entries += [("a/version", b"3\n"), *more]
    with zipfile.ZipFile(path, "w") as out:
        for name, content in entries:
            out.writestr(name, content)


def header(path: Path, table: Any, data: bytes = DATA) -> None:
    """A safetensors file with a header of our own."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(first: int, last: int, shape: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@attack("asks for '(posix|nt).system'")
def system_call(path: Path, marker: Path) -> None:
    archive(path, {"state_dict": {"a": Calls(os.system, f"touch {marker}")}})


@attack("asks for '(posix|nt).system'")
def system_call_in_an_old_file(path: Path, marker: Path) -> None:
    content = {"state_dict": {"a": Calls(os.system, f"touch {marker}")}}
    torch.save(content, path, _use_new_zipfile_serialization=False)


@attack("asks for '(posix|nt).system'")
def system_call_by_a_new_protocol(path: Path, marker: Path) -> None:
    archive(path, pickled({"a": Calls(os.system, f"touch {marker}")}, protocol=4))


@attack("asks for '(posix|nt).system'")
def a_plain_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Calls(os.system, f"touch {marker}"), protocol=2))


@attack("asks for '__builtin__.eval'")
def evaluated_text(path: Path, marker: Path) -> None:
    archive(path, {"a": Calls(eval, f"open({str(marker)!r}, 'w')")})


@attack("asks for '__builtin__.getattr'")
def an_attribute_of_a_module(path: Path, marker: Path) -> None:
    archive(path, {"a": Calls(getattr, torch.FloatStorage, "from_file")})


@attack("asks for 'torch.hub.load'")
def code_from_the_net(path: Path, marker: Path) -> None:
    archive(path, {"a": Calls(torch.hub.load, "evil/evil", "evil")})


@attack("asks for 'torch.serialization.load'")
def another_file_with_its_code(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02ctorch.serialization\nload\n(X\x01\x00\x00\x00xtR.")


@attack("sets attributes of what is no object")
def attributes_of_a_function(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aNsb.")


@attack("calls what is no name")
def a_call_of_a_number(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02K\x05)R.")


@attack("the pickle instruction (INST|OBJ|EXT1)")
def an_instruction_of_the_old_days(path: Path, marker: Path) -> None:
    archive(path, f"(S'touch {marker}'\nios\nsystem\n.".encode())


@attack("nests its containers")
def a_billion_laughs(path: Path, marker: Path) -> None:
    laughs: list[Any] = ["ha"] * 10
    for _ in range(30):
        laughs = [laughs] * 10
    archive(path, {"state_dict": {"a": tensor()}, "x": laughs})


@attack("a dictionary key that is no plain value")
def a_key_that_takes_for_ever_to_hash(path: Path, marker: Path) -> None:
    doubled = b"\x80\x02})" + b"q\x00h\x00\x86" * 200 + b"K\x01s."
    archive(path, doubled)


def endless(inner: int = 10, deep: int = 30) -> bytes:
    """Instructions that leave lists of lists of lists on the stack: 10**31 numbers."""
    again = b"](" + b"h\x00" * inner + b"eq\x00"
    return b"](" + b"K\x01" * inner + b"eq\x00" + again * deep


@attack("names something by what is no text")
def a_name_that_takes_for_ever_to_spell(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x04" + endless() + b"\x8c\x01x\x93.")


@attack("claims the impossible shape \\(list, 1, 2, 1, 0\\)")
def a_shape_that_takes_for_ever_to_spell(path: Path, marker: Path) -> None:
    laughs: list[Any] = ["ha"] * 10
    for _ in range(30):
        laughs = [laughs] * 10
    archive(path, {"a": tensor((laughs, 1))})


@attack("its list of storages is not that of its tensors")
def keys_that_take_for_ever_to_spell(path: Path, marker: Path) -> None:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"a": tensor()}]
    keys = b"\x80\x02]" + endless() + b"a."
    path.write_bytes(b"".join(map(pickled, head)) + keys)


@attack("misuses collections.OrderedDict: it takes pairs")
def a_long_list_in_ten_thousand_pairs(path: Path, marker: Path) -> None:
    long = b"](" + b"K\x01" * 10_000 + b"eq\x00"
    pairs = b"](" + b"h\x00" * 10_000 + b"e"
    archive(path, b"\x80\x02" + long + b"ccollections\nOrderedDict\n" + pairs + b"\x85R.")


@attack("nests its containers")
def a_long_list_in_another(path: Path, marker: Path) -> None:
    archive(path, {"state_dict": {"a": tensor()}, "x": [[1] * 50_000] * 50_000})


@attack("has 0.0 GB, but its tensors share their numbers so that they would have 33.6 GB")
def a_thousand_tensors_in_one(path: Path, marker: Path) -> None:
    whole = {f"t{i}": tensor((2**20,), (1,), count=2**20) for i in range(8000)}
    archive(path, whole, data=bytes(2**22))


@attack("contains itself")
def a_list_in_itself(path: Path, marker: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    archive(path, {"state_dict": {"a": tensor()}, "x": loop})


@attack("nests its containers")
def a_well_of_lists(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02}X\x01\x00\x00\x00x" + b"]" * 5000 + b"a" * 4999 + b"s.")


@attack("claims the shape \\(100000, 1000000\\), but only 4 numbers")
def a_hundred_gigabytes(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor((100_000, 1_000_000), (1_000_000, 1))})


@attack("claims the shape \\(100000000000,?\\), but only 4 numbers")
def one_number_a_hundred_billion_times(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor((100_000_000_000,), (0,))})


@attack("claims the impossible shape")
def a_negative_offset(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor(offset=-4)})


@attack("claims the shape")
def a_stride_out_of_the_storage(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor((2, 2), (2**40, 1))})


@attack("claims 100000000000 numbers")
def a_storage_larger_than_its_entry(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor(count=100_000_000_000)})


@attack("not described as PyTorch does it")
def a_storage_of_a_strange_type(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor(kind=OrderedDict)})


@attack("has no entry a/data/'../data.pkl'")
def a_storage_elsewhere(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor(key="../data.pkl")})


@attack("which leads elsewhere")
def a_path_out_of_the_archive(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor()}, (f"a/../../..{marker}", b"written"))


@attack("which leads elsewhere")
def an_absolute_path(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor()}, (str(marker), b"written"))


@attack("which is a link")
def a_link_in_the_archive(path: Path, marker: Path) -> None:
    link = zipfile.ZipInfo("a/data/1")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    archive(path, {"a": tensor()}, (link, b"/etc/passwd"))


@attack("has the compressed entry")
def a_bomb_of_zeros(path: Path, marker: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/data.pkl", pickled({"a": tensor(count=5_000_000)}))
        out.writestr("a/data/0", bytes(20_000_000))


@attack("has the encrypted entry")
def an_entry_under_a_password(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor()})
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"a/data/0")) + 8] |= 1  # in the directory
    path.write_bytes(raw)


@attack("a part of over 8 MiB is no tensor")
def a_directory_larger_than_any(path: Path, marker: Path) -> None:
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 9, 9, 20 * 2**20, 4, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(20 * 2**20) + end)


@attack("is not where the directory says")
def an_entry_that_begins_elsewhere(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor()})
    raw = path.read_bytes()
    first = raw.rindex(b"PK\x03\x04", 0, raw.index(b"a/data/0"))
    path.write_bytes(raw[:first] + b"QK" + raw[first + 2 :])


@attack("twice")
def an_entry_that_is_there_twice(path: Path, marker: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive(path, {"a": tensor()}, ("a/data.pkl", pickled({"b": 1})))


@attack("overlap")
def entries_that_overlap(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor()}, ("a/data/1", DATA))
    raw = bytearray(path.read_bytes())
    entries = zipfile.ZipFile(path).infolist()
    offset = entries[2].header_offset
    where = raw.index(b"PK\x01\x02", raw.rindex(b"a/data/0"))  # of a/data/1 in the directory
    raw[where + 42 : where + 46] = struct.pack("<I", offset + 4)
    path.write_bytes(raw)


@attack("is a TorchScript program")
def a_program(path: Path, marker: Path) -> None:
    archive(path, {"a": tensor()}, ("a/code/__torch__.py", b"import os"), ("a/constants.pkl", b""))


@attack("not one that torch.save writes")
def another_archive(path: Path, marker: Path) -> None:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("readme.txt", "hello")


@attack("damaged or cut short")
def a_truncated_archive(path: Path, marker: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])


@attack("damaged or cut short|is damaged")
def a_truncated_old_file(path: Path, marker: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-500])


@attack("its pickle (has no end|breaks off)")
def a_pickle_without_an_end(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02}q\x00X\xff\xff\xff\x7f")


@attack("over 500000 instructions")
def an_endless_pickle(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02" + b"N" * 600_000 + b".")


@attack("pickle of over")
def a_huge_pickle(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02" + bytes(9 * 2**20))


@attack("instruction LONG4")
def a_number_of_a_million_digits(path: Path, marker: Path) -> None:
    archive(path, b"\x80\x02\x8b" + struct.pack("<i", 500_000) + b"\x01" * 500_000 + b".")


@attack("claims a header of 107374182400 bytes")
def a_header_of_a_hundred_gigabytes(path: Path, marker: Path) -> None:
    path.write_bytes(struct.pack("<Q", 100 * 2**30) + b"{" + bytes(100))


@attack("its header describes|elements in")
def a_tensor_of_a_hundred_gigabytes(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 10**11, [25 * 10**9])})


@attack("overlap or leave gaps")
def tensors_that_overlap(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 16, [4]), "b": entry(8, 16, [2])})


@attack("overlap or leave gaps")
def a_gap_between_tensors(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 4, [1]), "b": entry(12, 16, [1])})


@attack("its header describes")
def more_bytes_than_tensors(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 16, [4])}, DATA + b"\x80\x02.")


@attack("it has a key twice")
def a_tensor_that_is_there_twice(path: Path, marker: Path) -> None:
    one = json.dumps(entry(0, 16, [4]))
    header(path, f'{{"a": {one}, "a": {one}}}'.encode())


@attack("in a wrong way: ValueError: a shape of 20 axes")
def a_tensor_of_many_axes(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 16, [2**61] * 20)})


@attack("in a wrong way: ValueError: a shape of 1000000 axes")
def a_tensor_of_a_million_axes(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 16, [9] * 1_000_000)})


@attack("in a wrong way")
def a_tensor_of_negative_size(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 16, [-2, -2])})


@attack("in a wrong way")
def a_tensor_of_an_unknown_type(path: Path, marker: Path) -> None:
    header(path, {"a": entry(0, 16, [4], "OBJECT")})


@attack("a header that is not usable")
def a_header_of_brackets(path: Path, marker: Path) -> None:
    header(path, b'{"a":' + b"[" * 200_000)


@attack("has the name .*x1b.*: refused")
def a_name_that_paints_the_terminal(path: Path, marker: Path) -> None:
    archive(path, {"state_dict": {"\x1b[2Ja": tensor()}})


@attack("has the name 'aaaa.*: refused")
def a_name_without_end(path: Path, marker: Path) -> None:
    header(path, {"a" * 10_000: entry(0, 16, [4])})


@attack("is no checkpoint")
def a_text(path: Path, marker: Path) -> None:
    path.write_text("weights, honestly")


@attack("is not a file")
def a_folder(path: Path, marker: Path) -> None:
    path.mkdir()


@attack("is not a file")
def a_pipe(path: Path, marker: Path) -> None:
    os.mkfifo(path)


@attack("is not a file")
def a_link_to_a_device(path: Path, marker: Path) -> None:
    path.symlink_to("/dev/zero")


@attack("does not exist")
def a_link_to_nothing(path: Path, marker: Path) -> None:
    path.symlink_to(marker)
