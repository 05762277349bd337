"""A small robust filter: which poses to believe, how far, and when to begin anew."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from mspr_ros.fusion.state import (
    STANDING,
    Belief,
    FusionSettings,
    Motion,
    corrected,
    first_belief,
    moved,
)
from mspr_ros.geometry import Array, covariance_at_offset, invert_transform, pose_difference

CHI2_MEDIAN = 5.348  # of 6 degrees of freedom
# No pose of a network is better than this: (metres)^2, (radians)^2.
VARIANCE_FLOOR = np.diag(3 * [0.01**2] + 3 * [math.radians(0.5) ** 2])
SCALE_WINDOW, SCALE_PRIOR = 40, 20  # innovations that tell the covariances' scale; assumed ones
SCALE_MIN, SCALE_MAX = 0.1, 100.0
# How far back a pose may come late; more than a network and a queue take.
HISTORY_NS = 3_000_000_000

BELIEVED, HELD, STARTED, RESTARTED = "believed", "held", "started", "restarted"


@dataclass(frozen=True)
class Event:
    """Odometry at a stamp, and the pose seen in its image if there is one.

    Args:
        stamp_ns: When.
        T_odom_body: (4, 4).
        T_map_body: (4, 4), or None.
        covariance: (6, 6) at the body's origin, or None.
    """

    stamp_ns: int
    T_odom_body: Array
    T_map_body: Array | None = None
    covariance: Array | None = None


@dataclass(frozen=True)
class _Candidate:
    """A pose that is not believed (yet), as what it says of odometry's frame."""

    T_map_odom: Array
    covariance: Array  # (6, 6) at its body
    position_map: Array  # of its body
    travelled: Motion  # up to it, since the filter began


@dataclass(frozen=True)
class _State:
    """Everything the filter remembers after an event; replaced as a whole, so time can go back."""

    last: Event
    belief: Belief | None = None
    travelled: Motion = STANDING
    candidates: tuple[_Candidate, ...] = ()
    ratios: tuple[float, ...] = ()
    verdict: str = HELD
    distance: float = math.nan


class FusionFilter:
    """Estimate `T_map_odom` from poses and odometry.

    Poses may come late and out of order: they are taken in at their stamp, and what came after is
    taken in once more.

    Args:
        settings: See there.
    """

    def __init__(self, settings: FusionSettings | None = None) -> None:
        self.settings = settings or FusionSettings()
        self._states: list[_State] = []

    def reset(self) -> None:
        """Forget everything."""
        self._states = []

    @property
    def belief(self) -> Belief | None:
        """What is believed at the newest stamp; None before enough poses agreed."""
        return self._states[-1].belief if self._states else None

    @property
    def stamp_ns(self) -> int | None:
        """The newest stamp."""
        return self._states[-1].last.stamp_ns if self._states else None

    def take(self, event: Event) -> str:
        """Take in odometry, or a pose with the odometry of its stamp.

        Returns:
            `believed`, `held` (an outlier, or not enough yet), `started` or `restarted`; for
            odometry alone what was said of the last pose.

        Raises:
            ValueError: If it is older than all that is remembered.
        """
        place = bisect_right([state.last.stamp_ns for state in self._states], event.stamp_ns)
        if place == 0 and self._states:
            raise ValueError("the pose is older than what the filter remembers")
        later = [state.last for state in self._states[place:]]
        del self._states[place:]
        before = self._states[-1] if self._states else None
        verdict = ""
        for each in [event, *later]:
            before = step(before, each, self.settings)
            self._states.append(before)
            verdict = verdict or before.verdict
        oldest_ns = self._states[-1].last.stamp_ns - HISTORY_NS
        while len(self._states) > 1 and self._states[1].last.stamp_ns < oldest_ns:
            del self._states[0]
        return verdict

    def covariance_scale(self) -> float:
        """Give the factor on the poses' covariances that is used now."""
        return _scale(self._states[-1], self.settings) if self._states else 1.0


def step(state: _State | None, event: Event, settings: FusionSettings) -> _State:
    """Give what the filter knows after an event that is no older than the state."""
    if state is None:
        state = _State(event)
    state = _move(state, event, settings)
    if event.T_map_body is None or event.covariance is None:
        return state
    if not (np.isfinite(event.T_map_body).all() and np.isfinite(event.covariance).all()):
        return replace(state, verdict=HELD, distance=math.nan)
    noise = event.covariance + VARIANCE_FLOOR
    if state.belief is None:
        return _hold(state, event, noise, settings.start_poses, STARTED, settings)
    innovation = pose_difference(event.T_map_body, state.belief.T_map_body)
    P = state.belief.covariance[:6, :6]
    ratio = _mahalanobis(innovation, P + noise) / CHI2_MEDIAN
    scale = _scale(state, settings)
    # Typical poses may be better than told; those that are not are still believed, the less.
    is_wild = _mahalanobis(innovation, P + max(scale, 1.0) * noise) > settings.gate
    noise = scale * noise
    distance = _mahalanobis(innovation, P + noise)
    state = replace(state, ratios=(*state.ratios[-SCALE_WINDOW + 1 :], ratio), distance=distance)
    if is_wild:
        return _hold(state, event, noise, settings.restart_poses, RESTARTED, settings)
    assert state.belief is not None
    noise = noise * _likeness(state.belief.since_pose, settings)
    noise = noise * _tail(distance, settings)
    return replace(
        state,
        belief=corrected(state.belief, event.T_map_body, noise),
        candidates=(),
        verdict=BELIEVED,
    )


def _move(state: _State, event: Event, settings: FusionSettings) -> _State:
    belief = state.belief
    if belief is not None:
        belief, motion = moved(belief, event.stamp_ns, event.T_odom_body, settings)
    else:
        T = invert_transform(state.last.T_odom_body) @ event.T_odom_body
        motion = Motion(
            float(np.linalg.norm(T[:3, 3])),
            float(np.linalg.norm(pose_difference(T, np.eye(4))[3:])),
            (event.stamp_ns - state.last.stamp_ns) / 1e9,
        )
    return replace(state, last=event, belief=belief, travelled=state.travelled.plus(motion))


def _hold(
    state: _State, event: Event, noise: Array, wanted: int, verdict: str, settings: FusionSettings
) -> _State:
    """Keep a pose as a candidate; begin with it once enough candidates agree."""
    assert event.T_map_body is not None
    newest = _Candidate(
        np.asarray(event.T_map_body @ invert_transform(event.T_odom_body)),
        noise,
        event.T_map_body[:3, 3],
        state.travelled,
    )
    candidates = [*state.candidates, newest][-2 * wanted :]
    agreeing = [each for each in candidates if _agree(newest, each, event.T_odom_body, settings)]
    if len(agreeing) < wanted:
        return replace(state, candidates=tuple(candidates), verdict=HELD)
    # The one that most of them agree with, the newest among equals.
    chosen = max(
        reversed(agreeing),
        key=lambda one: sum(_agree(one, each, event.T_odom_body, settings) for each in agreeing),
    )
    T_map_body = chosen.T_map_odom @ event.T_odom_body
    offset = T_map_body[:3, 3] - chosen.position_map
    covariance = covariance_at_offset(chosen.covariance, offset)
    belief = first_belief(event.stamp_ns, event.T_odom_body, T_map_body, covariance, settings)
    return replace(state, belief=belief, candidates=(), verdict=verdict)


def _agree(a: _Candidate, b: _Candidate, T_odom_body: Array, settings: FusionSettings) -> bool:
    """Say whether two candidates put the body of now at the same place, drift considered."""
    poses = [each.T_map_odom @ T_odom_body for each in (a, b)]
    covariance = np.zeros((6, 6))
    for each, pose in zip((a, b), poses, strict=True):
        covariance += covariance_at_offset(each.covariance, pose[:3, 3] - each.position_map)
    way_m = abs(a.travelled.way_m - b.travelled.way_m)
    turn_rad = abs(a.travelled.turn_rad - b.travelled.turn_rad)
    yaw = settings.yaw_drift_per_m * way_m + settings.yaw_drift_per_rad * turn_rad
    drift = (settings.drift_per_m + yaw) * way_m
    covariance += np.diag(3 * [drift**2] + 3 * [yaw**2])
    return _mahalanobis(pose_difference(*poses), covariance) <= settings.gate


def _mahalanobis(error: Array, covariance: Array) -> float:
    return float(error @ np.linalg.solve(covariance, error))


def _scale(state: _State, settings: FusionSettings) -> float:
    """Give the factor on the poses' covariances: what the innovations' median says of it."""
    if not settings.is_scale_learned:
        return settings.covariance_scale
    assumed = SCALE_PRIOR * [settings.covariance_scale]
    seen = [*assumed, *state.ratios][-SCALE_WINDOW:]
    return float(np.clip(np.median(seen), SCALE_MIN, SCALE_MAX))


def _likeness(since: Motion, settings: FusionSettings) -> float:
    """Give the factor on the noise of a pose that errs as the last one did.

    With errors whose correlation falls exponentially, a sample at correlation rho brings as much
    as (1 - rho) / (1 + rho) independent ones, in the long run.
    """
    news = 0.0
    for amount, length in (
        (since.way_m, settings.correlation_m),
        (since.turn_rad, settings.correlation_rad),
        (since.duration_s, settings.correlation_s),
    ):
        news += amount / length if length > 0.0 else math.inf
    rho = min(math.exp(-news), 0.999)
    return (1.0 + rho) / (1.0 - rho)


def _tail(distance: float, settings: FusionSettings) -> float:
    """Give the factor on the noise of a pose that lies far off: Student's t instead of normal."""
    if math.isinf(settings.tail):
        return 1.0
    return (settings.tail + distance) / (settings.tail + 6.0) if distance > 6.0 else 1.0
