"""The traced computation for one batch.

`Program.run` is a pure function of weights, images and target codes without host
callbacks; the engine jits it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from hiercam_keras.cam import input_space, selection
from hiercam_keras.cam.methods import Method
from hiercam_keras.cam.network import CHANNELS_FIRST, Layer, Network
from hiercam_keras.cam.score_cam import scorecam
from hiercam_keras.errors import UserError
from hiercam_keras.maps import is_degenerate


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of the CAM methods.

    Attributes:
      flip: average each map with the map of the mirrored image, mirrored back.
      scorecam_channels: channels, and forward passes, of scorecam.
      smoothgrad_samples, smoothgrad_noise: see `input_space.smoothgrad`.
      ig_steps, ig_baseline: see `input_space.integrated_gradients`. The default
        baseline is black, as in the paper.
      seed: of the random control and of smoothgrad's noise.
    """

    flip: bool = False
    scorecam_channels: int = 64
    smoothgrad_samples: int = 16
    smoothgrad_noise: float = 0.15
    ig_steps: int = 32
    ig_baseline: float = 0.0
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A network for images of one shape, with the settings of the methods."""

    network: Network
    options: Options

    def check(self, chosen: Sequence[Method]) -> None:
        """Raises a UserError where the network cannot be asked by a method."""
        self._taps(chosen)

    def can(self, method: Method) -> bool:
        """Whether the network can be asked by a method."""
        try:
            self.check([method])
        except UserError:
            return False
        return True

    def _taps(self, chosen: Sequence[Method]) -> dict[str, tuple[Layer, ...]]:
        """The layers that are read, by the `Method.source` that needs them."""
        sources = {method.source for method in chosen}
        taps = {"layer": self.network.layers}
        if "layers" in sources:
            taps["layers"] = self.network.stages()
        if "attention" in sources:
            taps["attention"] = self.network.attention().layers
        return taps

    def run(self, chosen, variables, images, others, codes, seeds):
        """Computes maps and scores for a batch of B images and K targets.

        Args:
          chosen: the methods.
          variables: the network's weights.
          images: in the network's layout.
          others: the network's other inputs, which are constant.
          codes: `targets.Codes`, (B, K).
          seeds: one integer for each image, (B,), for random methods.

        Returns:
          maps (B, K, h, w) by (method, layer); degenerate, bool (B, K), by (method,
          layer); arrays shared by all methods, by name; extras by (method, layer), then
          by name.
        """
        ask = functools.partial(self._logits, variables, others)
        layer_pass = functools.partial(self._layer_pass, chosen, variables, others)
        layers, logits, selected, scored = layer_pass(images, codes, None)
        keys = jax.vmap(
            lambda seed: jax.random.fold_in(jax.random.key(self.options.seed), seed)
        )(seeds)
        run = functools.partial(self._maps, chosen, ask, selected, keys)
        maps, extras = run(images, layers, scored.scores)
        if self.options.flip:
            mirrored = jnp.flip(images, 3 if self._channels_first else 2)
            layers, *_, rescored = layer_pass(mirrored, codes, selected)
            again, _ = run(mirrored, layers, rescored.scores)
            maps = {k: (m + jnp.flip(again[k], -1)) / 2 for k, m in maps.items()}
        # Maps of trivial targets are 0 for every method.
        off = selected.trivial[..., None, None]
        maps = {k: jnp.where(off, 0.0, m) for k, m in maps.items()}
        degenerate = {k: is_degenerate(m, jnp) for k, m in maps.items()}
        shared = {
            "scores": scored.scores,
            "probabilities": scored.probabilities,
            "logits": logits,
            "trivial": selected.trivial,
            "rows": selected.row,
            "rivals": selected.rival,
        }
        return maps, degenerate, shared, extras

    def _layer_pass(self, chosen, variables, others, images, codes, selected):
        """One pass; returns layers, logits, selected targets and their scores.

        `layers` holds (activations, gradients or None) for each layer, by source; by
        "read" which of the last tokens the head reads, if a method asks for it.
        """
        groups = self._taps(chosen)
        taps = list(dict.fromkeys(tap for group in groups.values() for tap in group))
        deltas = [tap.zeros(len(codes.row)) for tap in taps]

        def forward(deltas):
            return self.network(variables, images, others, taps, deltas)

        reads = any(m.source == "attention" and not m.gradients for m in chosen)
        wanted = reads or any(m.gradients and m.source in groups for m in chosen)
        if wanted:
            logits, pull_back, activations = jax.vjp(forward, deltas, has_aux=True)
        else:
            logits, activations = forward(deltas)
        space = self._space
        if selected is None:
            selected = selection.select(space, codes, logits)
        scored = selection.score(space, selected, logits)
        grads = [None] * len(activations)
        if wanted:
            grads = jax.vmap(pull_back, in_axes=1, out_axes=1)(scored.cotangents)[0]
        found = {
            tap: (tap.fold(a), None if g is None else jax.vmap(tap.fold, 1, 1)(g))
            for tap, a, g in zip(taps, activations, grads, strict=True)
        }
        layers = {
            source: [found[tap] for tap in group] for source, group in groups.items()
        }
        if reads:
            last = groups["attention"][-1]
            slope = pull_back(_of_all(logits))[0][taps.index(last)]
            layers["read"] = (last.fold(slope) != 0).any((-2, -1))  # (B, T)
        return layers, logits, selected, scored

    def _maps(self, chosen, ask, selected, keys, images, layers, scores):
        maps, extras = {}, {}
        for method in chosen:
            key, found = (method.name, method.place), layers.get(method.source, ())
            if method.source == "input":
                maps[key], extras[key] = self._input_map(
                    method, ask, selected, keys, images, scores
                )
            elif method.source == "attention":
                maps[key] = self._attention_map(method, selected, layers)
            elif method.source == "layers":
                activations = [each[:, None] for each, _ in found]
                maps[key] = method.compute(activations, [each for _, each in found])
            else:
                for tap, (activations, grads) in zip(
                    self.network.layers, layers["layer"], strict=True
                ):
                    maps[method.name, tap.path] = self._layer_map(
                        method, ask, selected, keys, images, activations, grads
                    )
        return maps, extras

    def _attention_map(self, method, selected, layers):
        attention, found = self.network.attention(), layers[method.source]
        if method.gradients:
            return attention.maps(method, found)
        num_targets = selected.row.shape[1]
        return jnp.repeat(attention.maps(method, found, layers["read"]), num_targets, 1)

    def _layer_map(self, method, ask, selected, keys, images, activations, grads):
        num_targets = selected.row.shape[1]
        each_target = jax.vmap(method.compute or (lambda *_: None), (None, 0))
        if method.source == "masking":
            pictures = self._pictures(images)
            score = functools.partial(self._scores, ask, selected)
            channels = self.options.scorecam_channels
            return scorecam(score, pictures, activations, channels=channels)
        if method.source == "random":
            drawn = jax.vmap(lambda key: jax.random.split(key, num_targets))(keys)
            return jax.vmap(each_target)(activations, drawn)
        if method.gradients:
            return jax.vmap(each_target)(activations, grads)
        same = jax.vmap(method.compute)(activations)
        return jnp.repeat(same[:, None], num_targets, axis=1)

    def _input_map(self, method, ask, selected, keys, images, scores):
        options, pictures = self.options, self._pictures(images)

        def gradient(pictures):  # (B, H, W, 3) -> (B, K, H, W, 3)
            logits, pull_back = jax.vjp(ask, pictures)
            scored = selection.score(self._space, selected, logits)
            pull_all = jax.vmap(pull_back, in_axes=1, out_axes=1)
            return pull_all(scored.cotangents)[0]

        if method.name == "saliency":
            return input_space.saliency(gradient, pictures), {}
        if method.name == "smoothgrad":
            found = input_space.smoothgrad(
                gradient,
                pictures,
                keys,
                samples=options.smoothgrad_samples,
                noise=options.smoothgrad_noise,
            )
            return found, {}
        found = input_space.integrated_gradients(
            gradient, pictures, baseline=options.ig_baseline, steps=options.ig_steps
        )
        nothing = jnp.full_like(pictures, options.ig_baseline)
        base = self._scores(ask, selected, nothing)
        gap = input_space.completeness_gap(found, scores, base)
        return found, {"completeness_gap": gap}

    @property
    def _space(self):
        return self.network.outputs.space

    @property
    def _channels_first(self) -> bool:
        return self.network.image_layout == CHANNELS_FIRST

    def _pictures(self, images):
        """Images as channels-last floats, which can be differentiated and masked."""
        dtype = self.network.image_dtype
        if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
            raise UserError(
                f"the model's input is {dtype}: methods that change the image "
                "(scorecam, saliency, smoothgrad, integrated_gradients) need a model "
                "that takes floats"
            )
        images = images.astype(jnp.promote_types(images.dtype, jnp.float32))
        return jnp.moveaxis(images, 1, -1) if self._channels_first else images

    def _logits(self, variables, others, pictures):
        images = jnp.moveaxis(pictures, -1, 1) if self._channels_first else pictures
        return self.network(variables, images, others)[0]

    def _scores(self, ask, selected, pictures):
        return selection.score(self._space, selected, ask(pictures)).scores


def _of_all(logits: jax.Array) -> jax.Array:
    """The derivative of a score in all logits, no part of which is 0, as the one of a
    sure step may be."""
    classes = jnp.arange(1, logits.shape[-1] + 1, dtype=logits.dtype)
    return jnp.broadcast_to(jnp.cos(classes), logits.shape)
