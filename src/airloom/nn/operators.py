"""The operators a graph may name: a literal list, so that a graph is data and never a program.

Every one is pure (no I/O, no state, nothing changed in place, no randomness but `RANDOM`'s), and the shape of
what it makes follows from the shapes of what it reads. A graph from the network that names any
other is refused; a model that needs any other cannot be captured.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from airloom.errors import UserError


def _aten(names: str) -> frozenset[str]:
    return frozenset(f"aten.{name}" for name in names.split())


# Their output covers the whole of their input's storage (or repeats it): carrying the input across
# a cut costs no more, so they are repeated by whoever reads them instead of counting storage twice.
WHOLE_VIEWS = _aten("""
    alias.default broadcast_to.default detach.default expand.default expand_as.default flatten.using_ints
    lift_fresh.default movedim.int movedim.intlist numpy_T.default mT.default permute.default positive.default
    ravel.default reshape.default reshape_as.default squeeze.default squeeze.dim squeeze.dims swapaxes.default
    swapdims.default t.default transpose.int unflatten.int unsqueeze.default view.default view.dtype view_as.default
    _unsafe_view.default
    """)

# Their output is a part of their input's storage.
PART_VIEWS = _aten("diagonal.default narrow.default select.int slice.Tensor unfold.default")

# They take a tensor apart; each piece is a view.
SPLITTERS = _aten("""
    chunk.default split.Tensor split.sizes split_with_sizes.default tensor_split.sections tensor_split.indices
    unbind.int unsafe_chunk.default unsafe_split.Tensor unsafe_split_with_sizes.default
    """)

# They make the same values again; on a tensor that is already contiguous they do nothing.
COPIES = _aten("clone.default contiguous.default lift_fresh_copy.default")

# They make a tensor out of nothing but numbers, and so need to be told where.
FACTORIES = _aten("""
    arange.default arange.start arange.start_step eye.default eye.m full.default linspace.default ones.default
    scalar_tensor.default tril_indices.default triu_indices.default zeros.default
    """)

_COMPUTE = _aten("""
    _adaptive_avg_pool2d.default _adaptive_avg_pool3d.default _log_softmax.default _native_batch_norm_legit.no_stats
    _native_batch_norm_legit_functional.default _native_batch_norm_legit_no_training.default _safe_softmax.default
    _softmax.default _to_copy.default
    abs.default acos.default acosh.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default
    adaptive_avg_pool3d.default adaptive_max_pool1d.default adaptive_max_pool2d.default adaptive_max_pool3d.default
    add.Scalar add.Tensor addbmm.default addcdiv.default addcmul.default addmm.default addmv.default addr.default
    affine_grid_generator.default all.default all.dim all.dims amax.default amin.default aminmax.default any.default
    any.dim any.dims argmax.default argmin.default argsort.default argsort.stable asin.default asinh.default
    atan.default atan2.default atanh.default avg_pool1d.default avg_pool2d.default avg_pool3d.default
    baddbmm.default batch_norm.default bilinear.default bitwise_and.Scalar bitwise_and.Tensor bitwise_not.default
    bitwise_or.Scalar bitwise_or.Tensor bitwise_xor.Scalar bitwise_xor.Tensor bmm.default bucketize.Tensor
    cat.default ceil.default celu.default channel_shuffle.default clamp.Tensor clamp.default clamp_max.Tensor
    clamp_max.default clamp_min.Tensor clamp_min.default col2im.default constant_pad_nd.default conv1d.default
    conv1d.padding conv2d.default conv2d.padding conv3d.default conv3d.padding conv_transpose1d.default
    conv_transpose2d.input conv_transpose3d.input convolution.default copysign.Scalar copysign.Tensor cos.default
    cosh.default cosine_similarity.default cross.default cummax.default cummin.default cumprod.default cumsum.default
    diag_embed.default diff.default div.Scalar div.Scalar_mode div.Tensor div.Tensor_mode dot.default
    einsum.default elu.default embedding.default eq.Scalar eq.Tensor erf.default erfc.default exp.default exp2.default
    expm1.default
    fill.Scalar fill.Tensor flip.default floor.default floor_divide.Scalar floor_divide.default fmod.Scalar
    fmod.Tensor frac.default full_like.default
    gather.default ge.Scalar ge.Tensor gelu.default glu.default grid_sampler.default grid_sampler_2d.default
    grid_sampler_3d.default group_norm.default gru.input gru_cell.default gt.Scalar gt.Tensor
    hardshrink.default hardsigmoid.default hardswish.default hardtanh.default hypot.default im2col.default
    index.Tensor index_add.default index_fill.int_Scalar index_fill.int_Tensor index_put.default index_select.default
    inner.default instance_norm.default isclose.default isfinite.default isinf.default isnan.default kron.default
    layer_norm.default le.Scalar le.Tensor leaky_relu.default lerp.Scalar lerp.Tensor linalg_vector_norm.default
    linear.default log.default log10.default log1p.default log2.default log_sigmoid.default log_softmax.int
    logaddexp.default logical_and.default logical_not.default logical_or.default logical_xor.default logit.default
    logsumexp.default lstm.input lstm_cell.default lt.Scalar lt.Tensor
    masked_fill.Scalar masked_fill.Tensor masked_scatter.default matmul.default max.default max.dim max.other
    max_pool1d.default max_pool2d.default max_pool2d_with_indices.default max_pool3d.default
    max_pool3d_with_indices.default maximum.default mean.default mean.dim median.dim min.default min.dim min.other
    minimum.default mish.default mm.default mul.Scalar mul.Tensor mv.default nan_to_num.default
    native_group_norm.default native_layer_norm.default ne.Scalar ne.Tensor neg.default new_full.default
    new_ones.default new_zeros.default norm.ScalarOpt_dim one_hot.default ones_like.default outer.default
    pad.default pixel_shuffle.default pixel_unshuffle.default pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor
    prelu.default prod.default prod.dim_int reciprocal.default reflection_pad1d.default reflection_pad2d.default
    reflection_pad3d.default relu.default relu6.default remainder.Scalar remainder.Tensor repeat.default
    repeat_interleave.self_int replication_pad1d.default replication_pad2d.default replication_pad3d.default
    rms_norm.default rnn_relu.input rnn_relu_cell.default rnn_tanh.input rnn_tanh_cell.default roll.default
    round.decimals round.default rsqrt.default rsub.Scalar rsub.Tensor
    scaled_dot_product_attention.default scatter.reduce scatter.src scatter.value scatter_add.default
    scatter_reduce.two select_scatter.default selu.default sigmoid.default sign.default silu.default sin.default
    sinh.default slice_scatter.default softmax.int softplus.default softshrink.default sort.default sort.stable
    sqrt.default square.default stack.default std.correction std.dim std_mean.correction sub.Scalar sub.Tensor
    sum.default sum.dim_IntList take_along_dim.default tan.default tanh.default threshold.default tile.default
    to.dtype topk.default tril.default triu.default trunc.default type_as.default
    upsample_bicubic2d.default upsample_bicubic2d.vec upsample_bilinear2d.default upsample_bilinear2d.vec
    upsample_linear1d.default upsample_linear1d.vec upsample_nearest1d.default upsample_nearest1d.vec
    upsample_nearest2d.default upsample_nearest2d.vec upsample_nearest3d.default upsample_nearest3d.vec
    upsample_trilinear3d.default upsample_trilinear3d.vec
    var.correction var.dim var_mean.correction where.Scalar where.ScalarOther where.ScalarSelf where.self
    zeros_like.default
    """)

# They draw random numbers: only a graph in train mode names them, and a trainer gives them numbers that follow from
# its seed, the step and the operator.
RANDOM = _aten("native_dropout.default")

ALLOWED = RANDOM | _COMPUTE | WHOLE_VIEWS | PART_VIEWS | SPLITTERS | COPIES | FACTORIES


def _reshape(self: Tensor, size: Sequence[int]) -> Tensor:
    return self.reshape(tuple(size))


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    return self.reshape(other.shape)


# Tensors between operators are in C order here, while torch's own may be strided: attention gives its heads
# last, and a view that fits those strides fits no others. Reshaping gives the same values whatever the strides.
_RUNS_AS: dict[str, Callable[..., Tensor]] = {
    "aten._unsafe_view.default": _reshape,
    "aten.view.default": _reshape,
    "aten.view_as.default": _reshape_as,
}

# Operators that draw random numbers unless this argument is 0 (or `train`, where they have it, is false).
DROPOUT_ARGUMENT = {
    "aten.gru.input": "dropout",
    "aten.lstm.input": "dropout",
    "aten.rnn_relu.input": "dropout",
    "aten.rnn_tanh.input": "dropout",
    "aten.scaled_dot_product_attention.default": "dropout_p",
}


class UnknownOperator(UserError):
    """A graph names an operator that is not on the list."""


@functools.cache
def overload(target: str) -> Any:
    """The `torch._ops.OpOverload` that `target` names.

    Raises:
        UnknownOperator: it is not on the list, or this torch lacks it.
    """
    if target not in ALLOWED:
        raise UnknownOperator(f"operator {target[:80]!r} is not on the list of operators that a graph may name")
    _, packet, name = target.split(".")
    try:
        return getattr(getattr(torch.ops.aten, packet), name)
    except AttributeError:
        raise UnknownOperator(
            f"torch {torch.__version__} has no operator {target}: use the torch that captured"
        ) from None


def runnable(target: str) -> Callable[..., Any]:
    """What a stage calls for `target`, with the same arguments.

    Raises:
        UnknownOperator: as `overload`.
    """
    return _RUNS_AS.get(target) or overload(target)


@functools.cache
def argument_names(target: str) -> tuple[str, ...]:
    """Names of the arguments of `target`, positional ones first."""
    return tuple(argument.name for argument in overload(target)._schema.arguments)


def draws_random(target: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether this call would draw random numbers: such a stage could not be run twice with one answer."""
    name = DROPOUT_ARGUMENT.get(target)
    if name is None:
        return False
    given = {**dict(zip(argument_names(target), args, strict=False)), **kwargs}
    return bool(given.get(name, 0)) and given.get("train", True) is not False
