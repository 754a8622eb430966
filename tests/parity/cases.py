"""The tiny models of the parity tests: one table for the tests, one for the committed fixtures.

Sizes are odd where a model allows it, so that no test passes for being even. The configuration's words
are those of each family's config.json.
"""

from dataclasses import dataclass, field, replace
from typing import Any

# One token, two, inside a chunk or window, past it, past two of them.
LENGTHS = (1, 2, 7, 19, 33)


@dataclass(frozen=True)
class Case:
    name: str
    family: str  # config.json's model_type
    config: dict[str, Any]
    lengths: tuple[int, ...] = LENGTHS
    dtype: str = "float32"  # of the stored tensors
    shard_size: str = "5GB"
    # What published files look like that today's transformers would write in another way:
    # "old config" (torch_dtype, rope_theta, rope_scaling, a bare Infinity),
    # "gpt2 files" (names without `transformer.`, mask buffers).
    style: str = ""
    changed: dict[str, Any] = field(default_factory=dict)

    def full_config(self) -> dict[str, Any]:
        return self.config | self.changed


@dataclass(frozen=True)
class Trained:
    """A model that weft itself makes and trains for a step or two, so that its config.json has no source."""
    name: str
    model: dict[str, Any]  # that of a recipe, but for the sizes that all share


def variant(case: Case, name: str, changed: dict[str, Any] | None = None, **fields: Any) -> Case:
    return replace(case, name=name, changed=case.changed | (changed or {}), **fields)


def rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **values}}


LLAMA = Case("llama", "llama", dict(
    vocab_size=97, hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=1, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False))
# Heads of 16, so that some frequencies turn fast, some slowly, and some stand between.
LLAMA_ROPE = variant(LLAMA, "llama-rope", dict(
    vocab_size=61, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2))
GPT2 = Case("gpt2", "gpt2", dict(
    vocab_size=71, n_embd=24, n_layer=3, n_head=3, n_positions=40))
MIXTRAL = Case("mixtral", "mixtral", dict(
    vocab_size=83, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=3,
    num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=64,
    sliding_window=None, output_router_logits=True, router_aux_loss_coef=0.02))
# Layers: Mamba, attention + experts, Mamba, Mamba + experts, attention.
JAMBA = Case("jamba", "jamba", dict(
    vocab_size=73, hidden_size=32, intermediate_size=40, num_hidden_layers=5, num_attention_heads=4,
    num_key_value_heads=2, attn_layer_period=3, attn_layer_offset=1, expert_layer_period=2,
    expert_layer_offset=1, num_experts=4, num_experts_per_tok=2, mamba_d_state=9, mamba_dt_rank=7,
    output_router_logits=True, router_aux_loss_coef=0.02, max_position_embeddings=64))
MAMBA = Case("mamba", "mamba", dict(
    vocab_size=89, hidden_size=24, num_hidden_layers=3, state_size=7))
MAMBA2 = Case("mamba2", "mamba2", dict(
    vocab_size=67, hidden_size=24, num_hidden_layers=3, state_size=6, num_heads=6, head_dim=8,
    n_groups=2, chunk_size=8, tie_word_embeddings=True))
OPENELM = Case("openelm", "openelm", dict(
    vocab_size=79, model_dim=32, head_dim=8, num_transformer_layers=4, num_gqa_groups=2,
    qkv_multipliers=[0.5, 1.0], ffn_multipliers=[0.5, 4.0], ffn_dim_divisor=8, ffn_with_glu=True,
    activation_fn_name="swish", normalization_layer_name="rms_norm", normalize_qk_projections=True,
    share_input_output_layers=True, rope_freq_constant=10000, rope_max_length=128,
    max_context_length=64))

CASES = [
    LLAMA,
    variant(LLAMA, "llama-sharded", shard_size="20KB"),
    variant(LLAMA, "llama-fp16", dtype="float16"),
    variant(LLAMA, "llama-bf16", dtype="bfloat16", style="old config"),
    # Row 3 of the embedding is the padding's: no gradient from the lookup, but one from the tied head.
    variant(LLAMA, "llama-tied-biases", dict(
        vocab_size=61, hidden_size=24, num_attention_heads=3, num_key_value_heads=3, head_dim=10,
        tie_word_embeddings=True, attention_bias=True, mlp_bias=True, pad_token_id=3)),
    variant(LLAMA, "llama-smollm", dict(
        vocab_size=101, hidden_size=36, intermediate_size=96, num_hidden_layers=4,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)),
    variant(LLAMA_ROPE, "llama-theta", rope("default", rope_theta=500.0), style="old config"),
    variant(LLAMA_ROPE, "llama-linear", rope("linear", factor=3.0)),
    # 16 is the last length with the unscaled base.
    variant(LLAMA_ROPE, "llama-dynamic", {"max_position_embeddings": 16} | rope("dynamic", factor=2.5),
            lengths=(1, 15, 16, 17, 41, 9, 33)),
    variant(LLAMA_ROPE, "llama-yarn", rope(
        "yarn", factor=4.0, original_max_position_embeddings=16)),
    variant(LLAMA_ROPE, "llama-yarn-factor", rope(
        "yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=1.3,
        beta_fast=6.0, beta_slow=0.5, truncate=False)),
    variant(LLAMA_ROPE, "llama-yarn-mscale", rope(
        "yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.7, mscale_all_dim=1.4),
        style="old config"),
    variant(LLAMA_ROPE, "llama-llama3", rope(
        "llama3", factor=8.0, original_max_position_embeddings=32, low_freq_factor=1.0,
        high_freq_factor=4.0), style="old config"),
    GPT2,
    variant(GPT2, "gpt2-inner", dict(n_inner=52, n_layer=2)),
    variant(GPT2, "gpt2-published", style="gpt2 files"),
    MIXTRAL,
    variant(MIXTRAL, "mixtral-bf16", dtype="bfloat16", shard_size="20KB"),
    variant(MIXTRAL, "mixtral-window", dict(
        num_experts_per_tok=3, sliding_window=5, head_dim=10, num_key_value_heads=3,
        output_router_logits=False), lengths=(1, 2, 5, 6, 29)),
    JAMBA,
    variant(JAMBA, "jamba-fp16", dtype="float16"),
    variant(JAMBA, "jamba-bf16", dtype="bfloat16", shard_size="30KB"),
    variant(JAMBA, "jamba-dense", dict(
        num_experts=1, num_experts_per_tok=1, num_hidden_layers=3, mamba_proj_bias=True,
        mamba_conv_bias=False, mamba_d_conv=3, mamba_dt_rank="auto", output_router_logits=False,
        tie_word_embeddings=True)),
    # Experts on every layer, some of them without a token; attention on none.
    variant(JAMBA, "jamba-all-experts", dict(
        num_hidden_layers=2, attn_layer_period=8, attn_layer_offset=4, expert_layer_period=1,
        expert_layer_offset=0, num_experts=9, num_experts_per_tok=1), lengths=(1, 2, 7)),
    MAMBA,
    variant(MAMBA, "mamba-untied", dict(
        use_bias=True, use_conv_bias=False, conv_kernel=3, expand=3, time_step_rank=5,
        tie_word_embeddings=False)),
    MAMBA2,
    variant(MAMBA2, "mamba2-bf16", dtype="bfloat16", style="old config"),
    variant(MAMBA2, "mamba2-limit", dict(
        n_groups=1, use_bias=True, conv_kernel=3, time_step_limit=[0.1, 0.4],
        tie_word_embeddings=False)),
    OPENELM,
    # The published files' form: the widths of all layers, rounded.
    variant(OPENELM, "openelm-lists", dict(
        num_transformer_layers=5, num_gqa_groups=4, ffn_multipliers=[0.5, 1.38, 2.25, 3.12, 4.0],
        num_query_heads=[4, 4, 4, 4, 4], num_kv_heads=[1, 1, 1, 1, 1],
        share_input_output_layers=False)),
]

TRAINED = [
    Trained("trained-llama", dict(family="llama", num_heads=4, num_kv_heads=2)),
    # Other than the defaults of its class, with padding and scaled rotary positions.
    Trained("trained-llama-scaled", dict(
        family="llama", num_heads=2, num_kv_heads=1, head_dim=12, tie_embeddings=True, pad_token_id=3,
        max_position=64, attention=dict(bias=True), mlp=dict(bias=True), norm=dict(eps=1e-4),
        rope=dict(type="yarn", factor=4.0, original_max_position=16))),
    Trained("trained-gpt2", dict(family="gpt2", num_heads=4)),
    Trained("trained-mixtral", dict(
        family="mixtral", num_heads=4, num_kv_heads=2, moe=dict(num_experts=3, top_k=2),
        attention=dict(sliding_window=5))),
    Trained("trained-jamba", dict(
        family="jamba", num_layers=3, num_heads=4, num_kv_heads=2, pad_token_id=0,
        moe=dict(num_experts=3, top_k=2), layout=dict(attention_period=3, attention_offset=1))),
    Trained("trained-mamba", dict(family="mamba", mamba=dict(state_size=7))),
    Trained("trained-mamba2", dict(
        family="mamba2", mamba2=dict(state_size=6, head_dim=16, num_groups=2, chunk_size=8))),
    Trained("trained-openelm", dict(
        family="openelm", num_layers=3, head_dim=8,
        layerwise=dict(qkv=[0.5, 1.0], ffn=[0.5, 4.0], gqa_group=2, ffn_divisor=8))),
]


def fixture(case: Case, **changed: Any) -> Case:
    return variant(case, case.family, changed, lengths=(1, 6, 13))


_SMALL = dict(vocab_size=31, hidden_size=16, num_hidden_layers=2)
FIXTURES = [
    fixture(LLAMA, **_SMALL, intermediate_size=24),
    fixture(GPT2, vocab_size=31, n_embd=15, n_layer=2, n_positions=16),
    fixture(MIXTRAL, **_SMALL, intermediate_size=20, num_attention_heads=4, num_key_value_heads=2),
    fixture(OPENELM, vocab_size=31, model_dim=16, head_dim=4, num_transformer_layers=3),
    fixture(MAMBA, **_SMALL, state_size=5),
    fixture(MAMBA2, **_SMALL, num_heads=4, head_dim=8, state_size=5, chunk_size=4),
    # Layers: Mamba + experts, attention, Mamba + experts.
    fixture(JAMBA, **_SMALL | dict(num_hidden_layers=3), intermediate_size=12, num_experts=3,
            expert_layer_offset=0),
]
