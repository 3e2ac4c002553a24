"""Short HLO texts with counts worked out by hand."""

import pytest

from hiercam_keras.plan import hlo
from hiercam_keras.plan.products import products
from hiercam_keras.plan.traffic import Traffic, program_traffic

HEAD = "HloModule jit_f, is_scheduled=true, num_partitions=4\n\n"


def program(entry, *others, head=HEAD):
    """A program of an entry computation's lines and of whole other computations."""
    body = "\n".join(f"  {line}" for line in entry)
    text = "\n\n".join([*others, f"ENTRY %main.1 (p: f32[]) -> f32[] {{\n{body}\n}}"])
    return hlo.parse(head + text + "\n")


def moved(entry, *others):
    return program_traffic(program(entry, *others))


@pytest.mark.parametrize(
    ("text", "dims", "size", "padded", "space"),
    [
        ("f32[]", (), 4, 4, 0),
        ("pred[7]{0}", (7,), 7, 7, 0),
        ("bf16[3,5]{1,0}", (3, 5), 30, 30, 0),
        ("f8e4m3fn[4]{0}", (4,), 4, 4, 0),
        ("s4[3]{0}", (3,), 2, 2, 0),
        ("c64[2]{0}", (2,), 16, 16, 0),
        # The minor axis, 5, is padded to 128 and the next one, 3, to 8.
        ("f32[3,5]{1,0:T(8,128)}", (3, 5), 60, 4096, 0),
        # Minor is the first axis: 3 to 128 and 5 to 8. In the vector memory.
        ("f32[3,5]{0,1:T(8,128)S(1)}", (3, 5), 60, 4096, 1),
        # The batch, 64, in the lanes: half of them are padding.
        ("bf16[64,9,9,16]{0,3,2,1:T(8,128)(2,1)}", (64, 9, 9, 16), 165888, 331776, 0),
        ("f32[200]{0:T(256)}", (200,), 800, 1024, 0),
        # A vector in a tile of two axes.
        ("f32[5]{0:T(8,128)}", (5,), 20, 4096, 0),
        ("u8[10]{0:S(5)}", (10,), 10, 10, 5),
    ],
)
def test_an_array_has_the_padding_and_the_memory_of_its_layout(
    text, dims, size, padded, space
):
    (array,) = hlo.parse_arrays(text)
    assert (array.dims, array.size, array.padded, array.space) == (
        dims,
        size,
        padded,
        space,
    )
    assert array.dtype == text.partition("[")[0]
    assert array.in_main_memory == (space == 0)


def test_operands_and_results_are_charged():
    found = moved(
        [
            "%x = f32[10]{0} parameter(0)",
            '%y = f32[10]{0} parameter(1), metadata={op_name="a(b)"}',
            "%c = f32[] constant(3)",
            "%sum = f32[10]{0} add(%x, %y)",
            "ROOT %pair = (f32[10]{0}, f32[]) tuple(%sum, %c)",
        ]
    )
    assert found == Traffic(120, 120, 120, 120)


def test_results_of_tuples_are_charged_once_and_their_elements_are_views():
    found = moved(
        [
            "%x = f32[2,4]{1,0} parameter(0)",
            "%two = (s32[], /*index=1*/(f32[2,4]{1,0}, bf16[6]{0})) "
            'custom-call(%x), custom_call_target="f"',
            "%y = bf16[6]{0} get-tuple-element(%two), index=1",
            "ROOT %z = bf16[6]{0} negate(%y)",
        ]
    )
    # 32 read, 4 + 32 + 12 written; then 12 and 12.
    assert found.size == 32 + 48 + 24


def test_an_element_of_a_tuple_is_an_operand():
    found = moved(
        [
            "%x = f32[4]{0} parameter(0)",
            '%two = (f32[100]{0}, f32[4]{0}) custom-call(%x), custom_call_target="f"',
            "ROOT %y = f32[4]{0} add(%two#1, %x)",
        ]
    )
    assert found.size == 16 + 400 + 16 + 3 * 16


def test_padding_and_other_memories_are_counted_apart():
    found = moved(
        [
            "%x = f32[3,5]{1,0:T(8,128)} parameter(0)",
            "%y = f32[3,5]{1,0:T(8,128)S(1)} copy(%x)",
            "ROOT %z = f32[3,5]{1,0:T(8,128)} negate(%y)",
        ]
    )
    assert found == Traffic(4 * 60, 4 * 4096, 2 * 60, 2 * 4096)
    assert found.padding_share == 1 - 60 / 4096


def test_a_fusion_is_charged_what_it_reads_of_its_operands_and_its_results():
    fused = """%fused (a: f32[100], b: f32[8,100], i: s32[]) -> f32[1,100] {
  %b = f32[8,100]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,100]{1,0} dynamic-slice(%b, %i, %zero), dynamic_slice_sizes={1,100}
  %a = f32[100]{0} parameter(0)
  %wide = f32[1,100]{1,0} reshape(%a)
  ROOT %sum = f32[1,100]{1,0} add(%row, %wide)
}"""
    found = moved(
        [
            "%a = f32[100]{0} parameter(0)",
            "%b = f32[8,100]{1,0} parameter(1)",
            "%i = s32[] parameter(2)",
            "ROOT %f = f32[1,100]{1,0} fusion(%a, %b, %i), kind=kLoop, calls=%fused",
        ],
        fused,
    )
    assert found.size == 400 + 400 + 4 + 400


def test_overlapping_slices_are_at_most_the_whole_operand():
    fused = """%fused (a: f32[10]) -> f32[9] {
  %a = f32[10]{0} parameter(0)
  %left = f32[9]{0} slice(%a), slice={[0:9]}
  %right = f32[9]{0} slice(%a), slice={[1:10]}
  ROOT %sum = f32[9]{0} add(%left, %right)
}"""
    found = moved(
        [
            "%a = f32[10]{0} parameter(0)",
            "ROOT %f = f32[9]{0} fusion(%a), kind=kLoop, calls=%fused",
        ],
        fused,
    )
    assert found.size == 40 + 36


def test_an_update_in_place_moves_the_update():
    fused = """%fused (a: f32[100], u: f32[2], i: s32[]) -> f32[100] {
  %a = f32[100]{0} parameter(0)
  %u = f32[2]{0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %new = f32[100]{0} dynamic-update-slice(%a, %u, %i)
}"""
    given = [
        "%a = f32[100]{0} parameter(0)",
        "%u = f32[2]{0} parameter(1)",
        "%i = s32[] parameter(2)",
    ]
    call = "ROOT %f = f32[100]{0} fusion(%a, %u, %i), kind=kLoop, calls=%fused"
    assert moved([*given, call], fused).size == 8 + 4 + 8
    plain = "ROOT %new = f32[100]{0} dynamic-update-slice(%a, %u, %i)"
    assert moved([*given, plain]).size == 8 + 4 + 8


def test_a_copy_is_charged_when_it_starts():
    found = moved(
        [
            "%x = f32[8,128]{1,0:T(8,128)} parameter(0)",
            "%start = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, "
            "u32[]{:S(2)}) copy-start(%x)",
            "%done = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%start)",
            "ROOT %y = f32[8,128]{1,0:T(8,128)S(1)} negate(%done)",
        ]
    )
    assert found.main == 4096
    assert found.padded == 4 * 4096


def test_a_prefetch_of_a_slice_reads_the_slice():
    found = moved(
        [
            "%x = f32[64,128]{1,0:T(8,128)} parameter(0)",
            "%start = ((f32[64,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)S(1)}, "
            "s32[]{:S(2)}) slice-start(%x), slice={[0:8],[0:128]}",
            "ROOT %done = f32[8,128]{1,0:T(8,128)S(1)} slice-done(%start)",
        ]
    )
    assert found == Traffic(8192, 8192, 4096, 4096)


def test_loops_count_by_their_trips_and_conditionals_by_the_largest_branch():
    body = """%body (s: (s32[], f32[10])) -> (s32[], f32[10]) {
  %s = (s32[], f32[10]{0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[10]{0} get-tuple-element(%s), index=1
  %y = f32[10]{0} negate(%x)
  ROOT %t = (s32[], f32[10]{0}) tuple(%i, %y)
}"""
    condition = """%until (s: (s32[], f32[10])) -> pred[] {
  %s = (s32[], f32[10]{0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  ROOT %more = pred[] compare(%i, %i), direction=LT
}"""
    small = """%small (x: f32[10]) -> f32[10] {
  ROOT %x = f32[10]{0} parameter(0)
}"""
    large = """%large (x: f32[10]) -> f32[10] {
  %x = f32[10]{0} parameter(0)
  ROOT %y = f32[10]{0} negate(%x)
}"""
    found = moved(
        [
            "%s = (s32[], f32[10]{0}) parameter(0)",
            "%w = (s32[], f32[10]{0}) while(%s), condition=%until, body=%body, "
            'backend_config={"known_trip_count":{"n":"5"}}',
            "%p = pred[] parameter(1)",
            "%x = f32[10]{0} get-tuple-element(%w), index=1",
            "ROOT %c = f32[10]{0} conditional(%p, %x, %x), "
            "branch_computations={%small, %large}",
        ],
        body,
        condition,
        small,
        large,
    )
    assert found.size == 5 * (80 + 9) + 80


def test_called_and_asynchronous_computations_are_entered():
    inner = """%inner (x: f32[10]) -> f32[10] {
  %x = f32[10]{0} parameter(0)
  ROOT %y = f32[10]{0} negate(%x)
}"""
    found = moved(
        [
            "%x = f32[10]{0} parameter(0)",
            "%y = f32[10]{0} call(%x), to_apply=%inner",
            "%a = ((f32[10]{0}), f32[10]{0}, s32[]) async-start(%y), calls=%inner",
            "ROOT %z = f32[10]{0} async-done(%a)",
        ],
        inner,
    )
    assert found.size == 160


def test_collectives_have_their_kind_dtypes_and_bytes():
    fused = """%fused (x: bf16[8]) -> bf16[8] {
  %x = bf16[8]{0} parameter(0)
  ROOT %sum = bf16[8]{0} all-reduce(%x), replica_groups={}, to_apply=%add
}"""
    found = hlo.collectives(
        program(
            [
                "%x = f32[6]{0} parameter(0)",
                "%y = bf16[8]{0} parameter(1)",
                "%r = (f32[6]{0}, bf16[8]{0}) all-reduce(%x, %y), to_apply=%add",
                "%g = (f32[6]{0}, f32[24]{0}) all-gather-start(%x), dimensions={0}",
                "%h = f32[24]{0} all-gather-done(%g)",
                "ROOT %f = bf16[8]{0} fusion(%y), kind=kOutput, calls=%fused",
            ],
            fused,
        )
    )
    assert [(one.kind, one.dtypes, one.size) for one in found] == [
        ("all-reduce", ("bf16", "f32"), 24 + 16),
        ("all-gather", ("f32",), 24),
        ("all-reduce", ("bf16",), 16),
    ]


def test_donated_parameters_are_aliased():
    head = (
        "HloModule jit_f, is_scheduled=true, input_output_alias={ {0}: (2, {}, "
        "may-alias), {1, 3}: (0, {}, must-alias) }, num_partitions=1\n\n"
    )
    found = program(["ROOT %x = f32[] parameter(0)"], head=head)
    assert found.aliases == (hlo.Alias((0,), 2), hlo.Alias((1, 3), 0))
    assert program(["ROOT %x = f32[] parameter(0)"]).aliases == ()


def test_repeated_instructions_are_found():
    found = hlo.rematerialized(
        program(
            [
                "%x = f32[3]{0} parameter(0)",
                "%y.remat2 = f32[3]{0} negate(%x)",
                "ROOT %z = f32[3]{0} negate(%y.remat2)",
            ]
        )
    )
    assert [one.name for one in found] == ["y.remat2"]


def test_largest_arrays_are_those_written_to_main_memory():
    one = program(
        [
            "%x = f32[1000]{0} parameter(0)",
            '%y = f32[100]{0} negate(%x), metadata={op_name="jit(f)/neg"}',
            '%b = bf16[300]{0} custom-call(%y), custom_call_target="f"',
            "%v = f32[900]{0:S(1)} broadcast(%y), dimensions={0}",
            "%t = (f32[100]{0}, bf16[300]{0}) tuple(%y, %b)",
            'ROOT %w = bf16[50]{0} custom-call(%t, %v), custom_call_target="g"',
        ]
    )
    found = hlo.largest(one, 2)
    assert [(array.dtype, i.name) for array, i in found] == [
        ("bf16", "b"),
        ("f32", "y"),
    ]
    assert found[1][1].op_name == "jit(f)/neg"
    found = hlo.largest(one, 9, dtypes=("bf16",))
    assert [i.name for _, i in found] == ["b", "w"]


def test_a_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.parse("HloModule x\n")


def test_work_and_precision_of_a_matrix_product():
    found = products(
        program(
            [
                "%x = f32[3,4,5]{2,1,0} parameter(0)",
                "%y = f32[4,7]{1,0} parameter(1)",
                "ROOT %z = f32[3,5,7]{2,1,0} dot(%x, %y), lhs_contracting_dims={1}, "
                "rhs_contracting_dims={0}, operand_precision={highest,highest}",
            ]
        )
    )
    (one,) = found
    assert (one.kind, one.dtypes, one.precision) == ("dot", ("f32", "f32"), "highest")
    assert one.flops == 2 * 3 * 5 * 7 * 4


@pytest.mark.parametrize(
    ("window", "image", "kernel", "output", "more", "flops"),
    [
        # 3 taps at 4 places with padding of 1: 2 + 3 + 3 + 2 pairs on each axis.
        (
            "size=3x3 pad=1_1x1_1",
            (2, 4, 4, 6),
            (3, 3, 6, 8),
            (2, 4, 4, 8),
            "",
            100 * 192,
        ),
        # Stride 2 from 5 to 3, padding of 1: 2 + 3 + 2.
        (
            "size=3x3 stride=2x2 pad=1_1x1_1",
            (1, 5, 5, 1),
            (3, 3, 1, 1),
            (1, 3, 3, 1),
            "",
            2 * 49,
        ),
        # Its input's gradient: dy is dilated by 2, and 7 pairs again on each axis.
        (
            "size=3x3 pad=1_1x1_1 lhs_dilate=2x2 rhs_reversal=1x1",
            (1, 3, 3, 1),
            (3, 3, 1, 1),
            (1, 5, 5, 1),
            "",
            2 * 49,
        ),
        # Depthwise: each output channel reads one input channel.
        (
            "size=3x3",
            (1, 4, 4, 6),
            (3, 3, 1, 6),
            (1, 2, 2, 6),
            ", feature_group_count=6",
            2 * 36 * 6,
        ),
    ],
)
def test_work_of_convolutions(window, image, kernel, output, more, flops):
    shapes = [f"bf16[{','.join(map(str, one))}]{{3,2,1,0}}" for one in (image, kernel)]
    result = f"bf16[{','.join(map(str, output))}]{{3,2,1,0}}"
    given = [
        f"%{name} = {one} parameter(0)" for name, one in zip("xk", shapes, strict=True)
    ]
    labels = "dim_labels=b01f_01io->b01f"
    call = (
        f"ROOT %y = {result} convolution(%x, %k), window={{{window}}}, {labels}{more}"
    )
    (one,) = products(program([*given, call]))
    assert (one.kind, one.precision, one.flops) == ("convolution", "default", flops)


def test_library_calls_are_products():
    found = products(
        program(
            [
                "%x = bf16[2,4,4,6]{3,2,1,0} parameter(0)",
                "%dy = bf16[2,4,4,8]{3,2,1,0} parameter(1)",
                "%dk = (bf16[8,1,1,6]{3,2,1,0}, u8[99]{0}) custom-call(%x, %dy), "
                "window={size=1x1}, dim_labels=b01f_o01i->b01f, "
                'custom_call_target="__cudnn$convBackwardFilter", backend_config='
                '{"cudnn_conv_backend_config":{"algorithm":{"algo_id":"1"}}}',
                "%a = f32[3,5]{1,0} parameter(2)",
                "%b = f32[5,7]{1,0} parameter(3)",
                "ROOT %ab = (f32[3,7]{1,0}, s8[64]{0}) custom-call(%a, %b), "
                'custom_call_target="__cublas$gemm", backend_config='
                '{"gemm_backend_config":{"dot_dimension_numbers":'
                '{"lhs_contracting_dimensions":["1"]},"precision_config":'
                '{"operand_precision":["HIGHEST","HIGHEST"],"algorithm":"ALG_UNSET"}}}',
            ]
        )
    )
    assert [(one.kind, one.precision, one.flops) for one in found] == [
        ("convolution", "default", 2 * 2 * 16 * 6 * 8),
        ("dot", "highest", 2 * 3 * 7 * 5),
    ]
