"""Types of values: element types, and interned tensor, sequence, optional and map types.

    >>> from geoc.ir.dims import symbol
    >>> tensor_type(F32, (symbol("B"), 3)) is tensor_type(F32, (symbol("B"), 3))
    True
    >>> str(tensor_type(F32, (symbol("B"), 3)))
    'f32[B,3]'
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from .dims import Atom, Dim, DimLike, atoms, fresh, render, spell

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[DimLike, ...]


class DType:
    """An element type of ONNX (TensorProto.DataType); one object each, compare with ``is``."""

    __slots__ = ("name", "onnx", "onnx_name", "bits", "kind", "_numpy_name", "_numpy")

    def __init__(
        self, name: str, onnx: int, onnx_name: str, bits: int, kind: str, numpy_name: str
    ) -> None:
        self.name = name
        self.onnx = onnx
        self.onnx_name = onnx_name
        self.bits = bits
        self.kind = kind
        self._numpy_name = numpy_name
        self._numpy: Any = None

    @property
    def type_str(self) -> str:
        """The spelling in ONNX type constraints, e.g. ``tensor(float)``."""
        return f"tensor({self.onnx_name})"

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_int(self) -> bool:
        """Signed or unsigned integers, bool not included."""
        return self.kind in "iu"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype of unpacked elements (ml_dtypes for what numpy lacks; object for strings)."""
        if self._numpy is None:
            import numpy

            if self._numpy_name.startswith("ml_dtypes."):
                import ml_dtypes

                self._numpy = numpy.dtype(getattr(ml_dtypes, self._numpy_name[10:]))
            else:
                self._numpy = numpy.dtype(self._numpy_name)
        result: np.dtype[Any] = self._numpy
        return result

    def nbytes(self, count: int) -> int:
        """Bytes that `count` elements take when packed (sub-byte types share bytes)."""
        return (count * self.bits + 7) // 8

    def __repr__(self) -> str:
        return self.name


F32 = DType("f32", 1, "float", 32, "f", "float32")
U8 = DType("u8", 2, "uint8", 8, "u", "uint8")
I8 = DType("i8", 3, "int8", 8, "i", "int8")
U16 = DType("u16", 4, "uint16", 16, "u", "uint16")
I16 = DType("i16", 5, "int16", 16, "i", "int16")
I32 = DType("i32", 6, "int32", 32, "i", "int32")
I64 = DType("i64", 7, "int64", 64, "i", "int64")
STR = DType("str", 8, "string", 0, "s", "object")
BOOL = DType("bool", 9, "bool", 8, "b", "bool")
F16 = DType("f16", 10, "float16", 16, "f", "float16")
F64 = DType("f64", 11, "double", 64, "f", "float64")
U32 = DType("u32", 12, "uint32", 32, "u", "uint32")
U64 = DType("u64", 13, "uint64", 64, "u", "uint64")
C64 = DType("c64", 14, "complex64", 64, "c", "complex64")
C128 = DType("c128", 15, "complex128", 128, "c", "complex128")
BF16 = DType("bf16", 16, "bfloat16", 16, "f", "ml_dtypes.bfloat16")
F8E4M3FN = DType("f8e4m3fn", 17, "float8e4m3fn", 8, "f", "ml_dtypes.float8_e4m3fn")
F8E4M3FNUZ = DType("f8e4m3fnuz", 18, "float8e4m3fnuz", 8, "f", "ml_dtypes.float8_e4m3fnuz")
F8E5M2 = DType("f8e5m2", 19, "float8e5m2", 8, "f", "ml_dtypes.float8_e5m2")
F8E5M2FNUZ = DType("f8e5m2fnuz", 20, "float8e5m2fnuz", 8, "f", "ml_dtypes.float8_e5m2fnuz")
U4 = DType("u4", 21, "uint4", 4, "u", "ml_dtypes.uint4")
I4 = DType("i4", 22, "int4", 4, "i", "ml_dtypes.int4")
F4E2M1 = DType("f4e2m1", 23, "float4e2m1", 4, "f", "ml_dtypes.float4_e2m1fn")
F8E8M0 = DType("f8e8m0", 24, "float8e8m0", 8, "f", "ml_dtypes.float8_e8m0fnu")
U2 = DType("u2", 25, "uint2", 2, "u", "ml_dtypes.uint2")
I2 = DType("i2", 26, "int2", 2, "i", "ml_dtypes.int2")
F6E2M3 = DType("f6e2m3", 27, "float6e2m3", 6, "f", "ml_dtypes.float6_e2m3fn")
F6E3M2 = DType("f6e3m2", 28, "float6e3m2", 6, "f", "ml_dtypes.float6_e3m2fn")

DTYPES: tuple[DType, ...] = (
    F32, U8, I8, U16, I16, I32, I64, STR, BOOL, F16, F64, U32, U64, C64, C128, BF16, F8E4M3FN,
    F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, U4, I4, F4E2M1, F8E8M0, U2, I2,
    F6E2M3, F6E3M2,
)  # fmt: skip
BY_NAME = {d.name: d for d in DTYPES}
BY_ONNX = {d.onnx: d for d in DTYPES}
BY_TYPE_STR = {d.type_str: d for d in DTYPES}


class TensorType:
    """A dense tensor: element type and shape, or no shape where even the rank is unknown."""

    __slots__ = ("dtype", "shape", "__weakref__")

    def __init__(self, dtype: DType, shape: Shape | None) -> None:
        self.dtype = dtype
        self.shape = shape

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_static(self) -> bool:
        """True when every dimension is a known int."""
        return self.shape is not None and all(d.__class__ is int for d in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape if every dimension is a known int, else None."""
        if self.shape is None:
            return None
        ints = tuple(d for d in self.shape if isinstance(d, int))
        return ints if len(ints) == len(self.shape) else None

    def __str__(self) -> str:
        return render_type(self)

    __repr__ = __str__


class SequenceType:
    """A sequence of values of one type."""

    __slots__ = ("element", "__weakref__")

    def __init__(self, element: Type | None) -> None:
        self.element = element

    def __str__(self) -> str:
        return render_type(self)

    __repr__ = __str__


class OptionalType:
    """A value that may be absent."""

    __slots__ = ("element", "__weakref__")

    def __init__(self, element: Type | None) -> None:
        self.element = element

    def __str__(self) -> str:
        return render_type(self)

    __repr__ = __str__


class MapType:
    """A map from keys to values; carried through, never looked into."""

    __slots__ = ("key", "value", "__weakref__")

    def __init__(self, key: DType, value: Type | None) -> None:
        self.key = key
        self.value = value

    def __str__(self) -> str:
        return render_type(self)

    __repr__ = __str__


class SparseTensorType:
    """A sparse tensor; carried through, never looked into."""

    __slots__ = ("dtype", "shape", "__weakref__")

    def __init__(self, dtype: DType, shape: Shape | None) -> None:
        self.dtype = dtype
        self.shape = shape

    def __str__(self) -> str:
        return render_type(self)

    __repr__ = __str__


class OpaqueType:
    """A type of a custom domain, known by domain and name alone."""

    __slots__ = ("domain", "name", "__weakref__")

    def __init__(self, domain: str, name: str) -> None:
        self.domain = domain
        self.name = name

    def __str__(self) -> str:
        return render_type(self)

    __repr__ = __str__


Type = TensorType | SequenceType | OptionalType | MapType | SparseTensorType | OpaqueType

_interned: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def _intern(cls: type[Any], *fields: Any) -> Any:
    key = (cls, *fields)
    found = _interned.get(key)
    if found is None:
        found = _interned[key] = cls(*fields)
    return found


def tensor_type(dtype: DType, shape: Shape | None) -> TensorType:
    """The tensor type with these parts; the same object each time."""
    key = (dtype, shape)
    found = _interned.get(key)
    if found is None:
        found = _interned[key] = TensorType(dtype, shape)
    return found


def sequence_type(element: Type | None) -> SequenceType:
    return _intern(SequenceType, element)  # type: ignore[no-any-return]


def optional_type(element: Type | None) -> OptionalType:
    return _intern(OptionalType, element)  # type: ignore[no-any-return]


def map_type(key: DType, value: Type | None) -> MapType:
    return _intern(MapType, key, value)  # type: ignore[no-any-return]


def sparse_tensor_type(dtype: DType, shape: Shape | None) -> SparseTensorType:
    return _intern(SparseTensorType, dtype, shape)  # type: ignore[no-any-return]


def opaque_type(domain: str, name: str) -> OpaqueType:
    return _intern(OpaqueType, domain, name)  # type: ignore[no-any-return]


def type_str(type: Type | None) -> str | None:
    """ONNX's spelling for type constraints, e.g. ``seq(tensor(float))``; None if unknown."""
    if isinstance(type, TensorType):
        return type.dtype.type_str
    if isinstance(type, (SequenceType, OptionalType)):
        inner = type_str(type.element)
        head = "seq" if isinstance(type, SequenceType) else "optional"
        return None if inner is None else f"{head}({inner})"
    if isinstance(type, MapType):
        inner = type_str(type.value)
        return None if inner is None else f"map({type.key.onnx_name}, {inner})"
    if isinstance(type, SparseTensorType):
        return f"sparse_{type.dtype.type_str}"
    return None


def render_type(type: Type | None, name_of: Callable[[Atom], str] | None = None) -> str:
    """The .gir text of a type; `name_of` spells symbols (default: their own names, quoted if odd)."""
    name_of = name_of or (lambda atom: atom.name if atom.is_unknown else spell(atom.name))
    if type is None:
        return "?"
    if isinstance(type, (TensorType, SparseTensorType)):
        head = type.dtype.name if isinstance(type, TensorType) else f"sparse {type.dtype.name}"
        if type.shape is None:
            return head + "[*]"
        return f"{head}[{','.join(render(d, name_of) for d in type.shape)}]"
    if isinstance(type, SequenceType):
        return f"seq({render_type(type.element, name_of)})"
    if isinstance(type, OptionalType):
        return f"opt({render_type(type.element, name_of)})"
    if isinstance(type, MapType):
        return f"map({type.key.name},{render_type(type.value, name_of)})"
    return f"opaque({spell(type.domain)},{spell(type.name)})"


def is_refinement(new: Type | None, old: Type | None) -> bool:
    """True when `new` says everything `old` says: same type with dims at least as well known.

    A named or computed dimension may refine an unknown one; it may not replace another name,
    and an int may refine any symbolic dimension.
    """
    if new is old or old is None:
        return True
    if isinstance(new, TensorType) and isinstance(old, TensorType):
        if new.dtype is not old.dtype:
            return False
        if old.shape is None:
            return True
        if new.shape is None or len(new.shape) != len(old.shape):
            return False
        return all(
            a is b or a == b or (not isinstance(b, int) and (isinstance(a, int) or b.is_unknown))
            for a, b in zip(new.shape, old.shape)
        )
    if isinstance(new, SequenceType) and isinstance(old, SequenceType):
        return is_refinement(new.element, old.element)
    if isinstance(new, OptionalType) and isinstance(old, OptionalType):
        return is_refinement(new.element, old.element)
    return False


def merge(a: Type | None, b: Type | None) -> Type | None:
    """What two descriptions of one value say together; `a` wins where both know.

    Ints win over symbols, symbols over unknowns. Returns `a` unchanged where the two contradict each
    other: the caller that must know compares dtypes and ranks itself.
    """
    if a is b or b is None:
        return a
    if a is None:
        return b
    if isinstance(a, TensorType) and isinstance(b, TensorType) and a.dtype is b.dtype:
        if a.shape is None:
            return b
        if b.shape is None or len(a.shape) != len(b.shape):
            return a
        return tensor_type(a.dtype, tuple(_merge_dim(x, y) for x, y in zip(a.shape, b.shape)))
    if isinstance(a, SequenceType) and isinstance(b, SequenceType):
        return sequence_type(merge(a.element, b.element))
    if isinstance(a, OptionalType) and isinstance(b, OptionalType):
        return optional_type(merge(a.element, b.element))
    return a


def complete(found: Type | None, declared: Type | None) -> Type | None:
    """An inferred type with what is declared where inference knows less.

    A dimension that follows from named symbols stays so even where a number is declared: exporters write down the
    sizes of their example.
    """
    merged = merge(found, declared)
    if merged is found or not isinstance(found, TensorType) or not isinstance(merged, TensorType):
        return merged
    if found.shape is None or merged.shape is None:
        return merged
    dims = [f if isinstance(f, Dim) and not _is_open(f) else m for f, m in zip(found.shape, merged.shape)]
    return tensor_type(merged.dtype, tuple(dims))


def _merge_dim(a: DimLike, b: DimLike) -> DimLike:
    if isinstance(a, int):
        return a
    if isinstance(b, int) or (a.is_unknown and not b.is_unknown):
        return b
    return b if _is_open(a) and not _is_open(b) else a


def _is_open(dim: Dim) -> bool:
    """True for arithmetic on unknowns."""
    return any(atom.is_unknown for atom in atoms(dim))


def join(a: Type | None, b: Type | None) -> Type | None:
    """The most precise type that covers both, e.g. of the two branches of an If."""
    if a is b:
        return a
    if isinstance(a, TensorType) and isinstance(b, TensorType) and a.dtype is b.dtype:
        if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
            return tensor_type(a.dtype, None)
        shape = tuple(x if x is y or x == y else fresh() for x, y in zip(a.shape, b.shape))
        return tensor_type(a.dtype, shape)
    if isinstance(a, SequenceType) and isinstance(b, SequenceType):
        return sequence_type(join(a.element, b.element))
    if isinstance(a, OptionalType) and isinstance(b, OptionalType):
        return optional_type(join(a.element, b.element))
    return None
