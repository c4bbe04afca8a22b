"""Kinds of networks and their shapes, as manifests and training configurations hold them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from weather.schema import FrozenModel


class UNetSpec(FrozenModel):
    """Shape of Warmcast's own U-Net, `unet`: a small network with an unshuffling stem and a full-resolution head.

    `widths` are the channels of each level, multiples of 8; `blocks` the residual blocks of each; `stem` the unshuffle
    factor. It is the kind of a network that names none.
    """

    kind: Literal["unet"] = Field("unet", exclude_if=lambda kind: kind == "unet")
    widths: tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...] = Field(min_length=1)
    blocks: int = Field(default=2, ge=1)
    stem: int = Field(default=2, ge=1)
    embedding_width: int = Field(default=0, ge=0)
    head_channels: int = Field(default=16, ge=1)
    polar_margin: int = Field(default=3, ge=0)

    @property
    def stride(self) -> int:
        """Total stride: the shift in longitude columns that the network commutes with."""
        return int(self.stem * 2 ** (len(self.widths) - 1))

    @property
    def has_flow_time(self) -> bool:
        """Whether it embeds flow time and warmth, as p' does and h does not."""
        return self.embedding_width > 0


class PaperSpec(FrozenModel):
    """Shape of the U-Nets of the paper's experiments; its two kinds differ in resampling, attention and embedding.

    Each level has `blocks` residual blocks on the way down and one more on the way up. Blocks of `attention_levels`
    (0 is the finest) are followed by attention; the middle of the network always has it.
    """

    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    blocks: int = Field(default=2, ge=1)
    attention_levels: tuple[Annotated[int, Field(ge=0)], ...] = ()
    norm_groups: int = Field(default=32, ge=1)
    polar_margin: int = Field(default=3, ge=0)

    @model_validator(mode="after")
    def _check_widths_and_levels(self) -> Self:
        wrong = [width for width in self.widths if width % self.norm_groups]
        if wrong:
            raise ValueError(f"`widths` must be multiples of `norm_groups` {self.norm_groups}. Got: {wrong}")
        if any(level >= len(self.widths) for level in self.attention_levels):
            raise ValueError(
                f"`attention_levels` must be less than {len(self.widths)}, the number of levels. "
                f"Got: {list(self.attention_levels)}"
            )
        return self

    @property
    def stride(self) -> int:
        """Total stride: the shift in longitude columns that the network commutes with."""
        return int(2 ** (len(self.widths) - 1))


class PaperWarmStartSpec(PaperSpec):
    """The paper's h, `paper_warm_start`; the defaults are those of its weather experiment (60.40 M parameters).

    `head_width` is the number of channels of an attention head. Source: docs/method.md §9.
    """

    kind: Literal["paper_warm_start"]
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128, 256, 512), min_length=1)
    head_width: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        attended = {self.widths[-1], *(self.widths[level] for level in self.attention_levels)}
        wrong = sorted(width for width in attended if width % self.head_width)
        if wrong or self.widths[0] % 2:
            raise ValueError(
                f"`widths` must be multiples of `head_width` {self.head_width} where there is attention, and the first "
                f"one even. Got: {list(self.widths)}"
            )
        return self

    @property
    def embedding_width(self) -> int:
        """Width of the embedding of its constant flow time 0."""
        return 4 * self.widths[0]

    @property
    def has_flow_time(self) -> bool:
        """Whether it embeds flow time and warmth: no, its flow time is constant."""
        return False


class PaperFlowSpec(PaperSpec):
    """The paper's p', `paper_flow`; the defaults are those of its weather experiment (31.7 M parameters).

    `widths` are its `model_channels` times `channel_mult`, and `embedding_width` is 4 times its `model_channels`.
    `dropout` is the probability in training. Source: docs/method.md §9.
    """

    kind: Literal["paper_flow"]
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(256, 256, 256), min_length=1)
    embedding_width: int = Field(default=512, ge=8, multiple_of=8)
    dropout: float = Field(default=0.3, ge=0, lt=1)

    @property
    def has_flow_time(self) -> bool:
        """Whether it embeds flow time and warmth: yes."""
        return True


def _kind(network: Any) -> str:
    kind = network.get("kind", "unet") if isinstance(network, dict) else getattr(network, "kind", "unet")
    return str(kind)


NetworkSpec = Annotated[
    Annotated[UNetSpec, Tag("unet")]
    | Annotated[PaperWarmStartSpec, Tag("paper_warm_start")]
    | Annotated[PaperFlowSpec, Tag("paper_flow")],
    Discriminator(
        _kind,
        custom_error_type="network_kind",
        custom_error_message="`kind` must be unet, paper_warm_start or paper_flow",
    ),
]
"""The shape of a network of any kind; its field `kind` chooses which."""
