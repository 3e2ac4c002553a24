"""How passes are counted in a program's text; nothing is compiled here."""

from benchmarks import passes

PROGRAM = """HloModule jit_step

%nine_taps (p.0: f32[2,4,4,8]) -> f32[2,4,4,8] {
  %p.0 = f32[2,4,4,8]{3,2,1,0} parameter(0)
  %a = f32[2,2,2,8]{3,2,1,0} slice(%p.0), slice={[0:2], [0:2], [0:2], [0:8]}
  %b = f32[2,2,2,8]{3,2,1,0} slice(%p.0), slice={[0:2], [0:2], [1:3], [0:8]}
  %c = f32[2,2,2,8]{3,2,1,0} slice(%p.0), slice={[0:2], [1:3], [0:2], [0:8]}
  ROOT %d = f32[2,2,2,8]{3,2,1,0} slice(%p.0), slice={[0:2], [1:3], [1:3], [0:8]}
}

%sums (p.1: f32[2,4,4,8], q.1: f32[2,4,4,8]) -> f32[8] {
  %p.1 = f32[2,4,4,8]{3,2,1,0} parameter(0)
  %q.1 = f32[2,4,4,8]{3,2,1,0} parameter(1)
}

%small (p.2: f32[8]) -> f32[8] {
  %p.2 = f32[8]{0} parameter(0)
}

%again (t: f32[2,4,4,8]) -> f32[8] {
  %w = f32[2,4,4,8]{3,2,1,0} fusion(%t), kind=kLoop, calls=%nine_taps
  ROOT %s = f32[8]{0} fusion(%w, %w), kind=kCustom, calls=%sums
}

%quick (t: f32[2,4,4,8]) -> f32[8] {
  ROOT %s.1 = f32[8]{0} fusion(%t, %t), kind=kCustom, calls=%sums
}

ENTRY %main (x: f32[2,4,4,8]) -> f32[8] {
  %y = f32[2,4,4,8]{3,2,1,0} fusion(%x), kind=kLoop, calls=%nine_taps
  %z = f32[8]{0} fusion(%g), kind=kLoop, calls=%small
  ROOT %c = f32[8]{0} conditional(%f, %y, %y), true_computation=%again, \
false_computation=%quick
}
"""


def test_reads_writes_and_the_usual_branch_count():
    # %y reads one array and writes one, %quick reads two; %again would be four.
    found = passes.count(PROGRAM, 2 * 4 * 4 * 8, kernel=2)
    assert found == {"passes": 4, "depthwise": 1}


def test_smaller_arrays_and_fewer_taps_do_not_count():
    assert passes.count(PROGRAM, 10**6, kernel=2) == {"passes": 0, "depthwise": 0}
    assert passes.count(PROGRAM, 2 * 4 * 4 * 8, kernel=3)["depthwise"] == 0
