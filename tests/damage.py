"""Damages of a checkpoint, drawn at random: what a disk, a stranger or another program may do."""

import io
import json
import zipfile
import zlib

import numpy as np


def members(content):
    """Names and contents of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(files, compression=zipfile.ZIP_STORED):
    """Zip of names and contents, with checksums that are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return out.getvalue()


def as_npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    return out.getvalue()


def _some(rng, content):
    return int(rng.integers(len(content)))


def flipped(rng, content):
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        content[_some(rng, content)] ^= 1 << int(rng.integers(8))
    return bytes(content)


def truncated(rng, content):
    return content[: _some(rng, content)]


def overwritten(rng, content):
    start, length = _some(rng, content), int(rng.integers(1, 400))
    filling = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    return content[:start] + filling[: len(content) - start] + content[start + length :]


def shifted(rng, content):
    at, length = _some(rng, content), int(rng.integers(1, 40))
    if rng.random() < 0.5:
        return content[:at] + rng.bytes(length) + content[at:]
    return content[:at] + content[at + length :]


def _one(rng, files, document=False):
    names = [name for name in files if document or not name.startswith("document")]
    return names[int(rng.integers(len(names)))]


SHAPES = ["(10**12,)", "(-4,)", "(2, -8)", "(0,)", "(1,)", "(99999999999999999999,)", "7", "()",
          "(4.0,)", "(True,)", "('a',)", "(3, 10**9)", "exit()"]  # fmt: skip
DTYPES = ["'|O'", "'<f4'", "'>f8'", "'<i8'", "'<c16'", "'|V8'", "'<U2'", "'<M8[s]'", "'|V0'",
          "[('a', '<f8')]", "'|b1'", "'<f16'", "'nonsense'", "12"]  # fmt: skip


def other_header(rng, content):
    """An array whose header says another shape or type than that of its entries."""
    files = members(content)
    name = _one(rng, files, document=True)
    with io.BytesIO(files[name]) as file:
        np.lib.format.read_magic(file)
        shape, order, dtype = np.lib.format.read_array_header_1_0(file)
        rest = file.read()
    shape, dtype = repr(shape), repr(dtype.str)
    if rng.random() < 0.5:
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
    else:
        dtype = DTYPES[int(rng.integers(len(DTYPES)))]
    header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    files[name] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + rest
    return packed(files.items())


def bomb(rng, content):
    """Gigabytes of zeros in a few kilobytes, or the whole compressed."""
    files = members(content)
    if rng.random() < 0.3:
        return packed(files.items(), zipfile.ZIP_DEFLATED)
    name = _one(rng, files, document=True) if rng.random() < 0.5 else "array_999.npy"
    files[name] = as_npy(np.zeros(1 << 23))
    kind = zipfile.ZIP_DEFLATED if rng.random() < 0.7 else zipfile.ZIP_STORED
    return packed(files.items(), kind)


def twice(rng, content):
    """A name that is there twice, with other contents."""
    files = members(content)
    name = _one(rng, files, document=True)
    pairs = [*files.items(), (name, files[_one(rng, files)])]
    return packed(pairs)


def missing(rng, content):
    files = members(content)
    del files[_one(rng, files, document=True)]
    return packed(files.items())


def swapped(rng, content):
    files = members(content)
    a, b = _one(rng, files), _one(rng, files)
    files[a], files[b] = files[b], files[a]
    return packed(files.items())


VALUES = [None, True, -1, 10**30, 1e308, 0.0, "x", [], {}, {"dict": []}, {"tuple": []},
          {"bits": "7ff8000000000000"}, {"bits": "7ff0000000000000"}, {"tensor": 1}, [[[[1]]]],
          {"tensor": ["array_0", "torch.float64", [10**12], [0]]},
          {"tensor": ["array_0", "torch.float64", [2, 2], [10**10, 1]]},
          {"tensor": ["array_0", "torch.float64", [-1], [1]]}]  # fmt: skip


def other_json(rng, content):
    """Some value of the document is another one."""
    files = members(content)
    document, places = _document(files), []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(document)
    node, key = places[int(rng.integers(len(places)))]
    node[key] = VALUES[int(rng.integers(len(VALUES)))]
    return packed((files | {"document.npy": _encoded(document)}).items())


def other_numbers(rng, content):
    """Entries of an array are others, and the checksums of the zip are right."""
    files = members(content)
    name = _one(rng, files)
    files[name] = _changed(rng, files[name])
    return packed(files.items())


def forged(rng, content):
    """Entries of an array are others, and all checksums right."""
    files = members(content)
    name = _one(rng, files)
    files[name] = _changed(rng, files[name])
    document = _document(files)
    entries = np.lib.format.read_array(io.BytesIO(files[name]))
    document["sums"][name.removesuffix(".npy")] = zlib.crc32(entries.tobytes("A"))
    return packed((files | {"document.npy": _encoded(document)}).items())


def other_format(content, number):
    """The document says that it has another format."""
    files = members(content)
    document = _document(files) | {"format": number}
    return packed((files | {"document.npy": _encoded(document)}).items())


def _document(files):
    with io.BytesIO(files["document.npy"]) as file:
        return json.loads(np.lib.format.read_array(file).tobytes())


def _encoded(document):
    return as_npy(np.frombuffer(json.dumps(document).encode(), dtype=np.uint8))


def _changed(rng, content):
    with io.BytesIO(content) as file:
        array = np.array(np.lib.format.read_array(file))
    if not array.size:
        return content
    flat, kind = array.reshape(-1), rng.integers(6)
    entry = int(rng.integers(flat.size))
    if array.dtype.kind == "f":
        with np.errstate(all="ignore"):
            if kind == 0:
                flat[entry] = np.nan
            elif kind == 1:
                flat[entry] = np.inf
            elif kind == 2:
                flat *= 1.5
            elif kind == 3:
                flat[:] = 0.0
            elif kind == 4:
                flat[entry] += 1.02
            else:
                flat *= 1e-8
    elif array.dtype.kind == "b":
        flat[:] = ~flat
    else:
        flat[entry] += int(rng.integers(-3, 4))
    return as_npy(array)


DAMAGES = [flipped, truncated, overwritten, shifted, other_header, bomb, twice, missing, swapped,
           other_json, other_numbers, forged]  # fmt: skip
