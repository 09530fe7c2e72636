"""Several episodes side by side, for stable-baselines3: all end at the same step, and are judged in one call.

So a judge that spreads allocations over processes or hosts has a whole round to spread, and the agent stays in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from edgeprune.allocation.environment import AllocationEnv, Observation, judge_all
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.trials import Trials


class Together(VecEnv):
    """`count` environments in step."""

    def __init__(self, problem: Problem, trials: Trials, count: int) -> None:
        self._environments = [AllocationEnv(problem, trials) for _ in range(count)]
        self._trials = trials
        self._actions: Observation = np.zeros((count, 1), dtype=np.float32)
        first = self._environments[0]
        super().__init__(count, first.observation_space, first.action_space)

    def reset(self) -> Observation:
        return np.stack([environment.reset()[0] for environment in self._environments])

    def step_async(self, actions: Observation) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        pairs = zip(self._environments, self._actions, strict=True)
        ended = [kept for kept in (environment.decide(action) for environment, action in pairs) if kept is not None]
        infos: list[dict[str, Any]] = [{} for _ in self._environments]
        rewards = np.zeros(self.num_envs, dtype=np.float32)
        if ended:
            rewards[:] = judge_all(self._trials, "sample", self._environments, ended)
            infos = [{"terminal_observation": environment.observe()} for environment in self._environments]
            observations = self.reset()
        else:
            observations = np.stack([environment.observe() for environment in self._environments])
        return observations, rewards, np.full(self.num_envs, bool(ended)), infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(environment, attr_name) for environment in self._some(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        for environment in self._some(indices):
            setattr(environment, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [getattr(environment, method_name)(*args, **kwargs) for environment in self._some(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        del wrapper_class
        return [False for _ in self._some(indices)]

    def _some(self, indices: Any) -> Sequence[AllocationEnv]:
        return [self._environments[index] for index in self._get_indices(indices)]
