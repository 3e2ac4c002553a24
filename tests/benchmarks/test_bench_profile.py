"""How events of a trace are told apart; nothing here measures a time."""

from benchmarks import profile_ops

PROGRAM = """HloModule jit_step

%body (p: f32[8]) -> f32[8] {
  %tap = f32[8]{0} fusion(%p), metadata={op_name="transpose(jvp(dwconv))/while/body"}
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %ynn_fusion.3 = f32[8]{0} fusion(%x), metadata={op_name="jit(f)/jvp(a_bn)/reduce_sum"}
  %copy.1 = f32[8]{0} copy(%x)
  %cond.4.clone = (f32[8]{0}) conditional(%x), metadata={op_name="jvp(a_bn)/cond"}
  ROOT %while.7 = f32[8]{0} while(%x), metadata={op_name="transpose(jvp(dwconv))/while"}
}
"""


def test_steps_of_a_loop_count_and_the_loop_around_them_does_not():
    times = {"tap": 4.0, "while.7": 5.0, "ynn_fusion.3": 2.0, "copy.1": 1.0, "other": 9}
    times["cond.4.clone"] = 3.0
    seconds, single = profile_ops.shares(profile_ops.op_names(PROGRAM), times, calls=2)
    assert seconds == {
        "depthwise, weight gradient": 2.0,
        "batch norm, forward": 1.0,
        "other": 0.5,  # an op without a name; what is no op of the program is left out
    }
    assert [event for _, event, _ in single] == ["tap", "ynn_fusion.3", "copy.1"]


def test_gradients_are_told_from_their_forward_passes():
    assert profile_ops.kind_of("jvp(b_dwconv)/add") == "depthwise, forward"
    assert profile_ops.kind_of("transpose(jvp(b_dwconv))/add") == "depthwise, backward"
    assert profile_ops.kind_of("transpose(jvp(b_expand_conv))/dot") == "1x1, backward"
    assert profile_ops.kind_of("jvp(b_se_expand)/dot") == "squeeze and excite"
