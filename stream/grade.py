"""Road grade: from a map where the gateway sends it, else a filter over height and distance. Never raw GNSS altitude.

The filter is an observer in distance, not time, of a height that rises by grade times way. Its two gains keep one ratio, so what
the grade says of a closed loop is the height it ended with: 0. Standing still it learns the error of the altimeter, not a slope.
Roads are flat before anything is seen: the noise of the heights, measured beside, says how far the filter is believed.
"""

import math
from typing import Any, Final

from stream.kernel import inlined

LENGTH_M: Final = (
    200.0  # shorter follows the receiver's noise (6 m over a minute), longer comes too late for hills of some km
)
GAIN: Final = 1.4142135623730951  # twice the damping, 0.7
SETTLED_M: Final = 3.0 * LENGTH_M
NOISE_M: Final = 500.0  # distance over which the noise of the heights is measured
NOISE_GAIN: Final = 0.354 / LENGTH_M  # variance of the filter's grade over the noise per metre: 1/(4 damping L)
PRIOR_GRADE: Final = 0.01  # standard deviation of main roads
STEP_MAX_M: Final = 20.0
JUMP_M: Final = 60.0  # a difference this large is a jump of the receiver or a stretch not seen: anchor anew
FADE_M: Final = 1000.0  # without heights (tunnel) the last grade fades over this
COARSE_STEPS_PER_KPA: Final = 2.0  # SPN 108 steps by 0.5 kPa = 42 m: tells density, not slopes
METRE_PER_KPA: Final = (
    84.34  # scale height 8434 m over 100 kPa; grade errs in proportion to the pressure, 5 % per 500 m
)
HDOP_MAX: Final = 4.0
NO_GRADE: Final = 0  # sources, for the width of the model's band
BY_FILTER: Final = 1
BY_MAP: Final = 2


@inlined
def height_of(alt_m: float, hdop: float, baro_kpa: float) -> float:
    """Height [m] by GNSS (hdop at most 4 or unknown), else by a barometer of fine steps; NaN where neither serves.

    Only differences count: the zero of a barometer moves with the weather, 8 m per hPa.
    """
    if not math.isnan(alt_m) and not hdop > HDOP_MAX:
        return alt_m
    steps = baro_kpa * COARSE_STEPS_PER_KPA
    if math.isnan(steps) or steps == math.floor(steps):
        return math.nan
    return -METRE_PER_KPA * baro_kpa


@inlined
def filtered_grade(state: Any, height_m: float, run_m: float) -> tuple[float, int]:
    """(grade as rise over run, source) after ``run_m`` metres; updates the filter in ``state``. 0 until 600 m were seen.

    Eq. 14, each row: h += g s; r = height - h; h += 1.41 (s/L) r; g += (s/L^2) r with L = 200 m. Noise q [m2/m] of the heights:
    half the mean square of the second difference per metre. Told: g / (1 + 0.354 q / (L 0.01^2)). With GNSS heights of 6 m over
    90 s and hills of 1 % (rms) its error is 0.75 % (rms); it lags by about L. Clean heights are followed whole.
    """
    if math.isnan(run_m) or run_m > LENGTH_M:
        state["height_m"] = math.nan
        state["height_seen_m"] = math.nan
        run_m = 0.0
    if math.isnan(height_m):
        if state["grade"] != 0.0:
            state["grade"] *= FADE_M / (FADE_M + run_m)
        state["height_m"] = math.nan
        state["height_seen_m"] = math.nan
    elif run_m < 0.1:
        state["height_m"] = height_m
        state["height_seen_m"] = height_m
    else:
        rise = height_m - state["height_seen_m"]
        bend = rise - state["rise_m"]
        if abs(bend) < STEP_MAX_M:
            state["height_noise"] += (0.5 * bend * bend - state["height_noise"] * run_m) * (1.0 / NOISE_M)
        state["rise_m"] = rise
        state["height_seen_m"] = height_m
        r = height_m - state["height_m"] - state["grade"] * run_m
        if abs(r) < JUMP_M:
            x = run_m * (1.0 / LENGTH_M)
            state["height_m"] = height_m - r * (1.0 - min(GAIN * x, 1.0))
            state["grade"] += r * x * (1.0 / LENGTH_M)
            if state["grade_run_m"] < SETTLED_M:
                state["grade_run_m"] += run_m
        else:
            if not math.isnan(r):
                state["grade_run_m"] = 0.0
                state["grade"] = 0.0
            state["height_m"] = height_m
    if state["grade_run_m"] < SETTLED_M:
        return 0.0, NO_GRADE
    noise = NOISE_GAIN * max(state["height_noise"], 0.0)
    return state["grade"] * (PRIOR_GRADE * PRIOR_GRADE) / (PRIOR_GRADE * PRIOR_GRADE + noise), BY_FILTER
