#include "host/model/torchscript/fused_operators.h"

#include <torch/jit.h>

#include <map>

namespace microtome::host::torchscript {

namespace {

// A mask is true where nothing is attended to. Its kind: 0 for [queries, keys], 1 for padding, as
// [samples, keys], 2 for [samples, heads, queries, keys].
const char* const source = R"(
def addmm_activation(bias: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float, use_gelu: bool) -> Tensor:
  sum = torch.addmm(bias, left, right, beta=beta, alpha=alpha)
  if use_gelu:
    result = torch.gelu(sum)
  else:
    result = torch.relu(sum)
  return result

def channel_shuffle(x: Tensor, groups: int) -> Tensor:
  shape = torch.size(x)
  n, c = shape[0], shape[1]
  parts = torch.reshape(x, [n, groups, c // groups, -1])
  return torch.reshape(torch.transpose(parts, 1, 2), shape)

def weighted_embedding_bag(table: Tensor, indices: Tensor, offsets: Tensor, scale: bool, mode: int, sparse: bool, weights: Optional[Tensor], include_last: bool, padding: Optional[int]) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
  if weights is None:
    result = torch.embedding_bag(table, indices, offsets, scale, mode, sparse, None, include_last, padding)
  else:
    starts = offsets
    if include_last:
      starts = offsets[:-1]
    places = torch.arange(indices.size(0), device=indices.device)
    bags = torch.bucketize(places, starts, right=True) - 1
    kept = weights
    if padding is not None and padding >= 0:
      kept = torch.masked_fill(weights, torch.eq(indices, padding), 0.0)
    rows = torch.embedding(table, indices) * torch.unsqueeze(kept, 1)
    sums = torch.zeros([starts.size(0), table.size(1)], dtype=table.dtype, device=table.device)
    result = (torch.index_add(sums, 0, bags, rows), bags, offsets, offsets)
  return result

def transform_bias_rescale_qkv(qkv: Tensor, bias: Tensor, heads: int) -> Tuple[Tensor, Tensor, Tensor]:
  n, t, d = qkv.size(0), qkv.size(1), qkv.size(2) // 3
  parts = (qkv + bias).view([n, t, 3, heads, d // heads])
  q = torch.select(parts, 2, 0).transpose(1, 2)
  k = torch.select(parts, 2, 1).transpose(1, 2)
  v = torch.select(parts, 2, 2).transpose(1, 2)
  return (q / ((d // heads) ** 0.5), k, v)

def multi_head_attention(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, heads: int, qkv_weight: Tensor, qkv_bias: Tensor, out_weight: Tensor, out_bias: Tensor, mask: Optional[Tensor], need_weights: bool, average_weights: bool, mask_type: Optional[int]) -> Tuple[Tensor, Optional[Tensor]]:
  weights = torch.chunk(qkv_weight, 3, 0)
  biases = torch.chunk(qkv_bias, 3, 0)
  n, queries, keys, width = query.size(0), query.size(1), key.size(1), embed_dim // heads
  q = torch.linear(query, weights[0], biases[0]).view([n, queries, heads, width]).transpose(1, 2)
  k = torch.linear(key, weights[1], biases[1]).view([n, keys, heads, width]).transpose(1, 2)
  v = torch.linear(value, weights[2], biases[2]).view([n, keys, heads, width]).transpose(1, 2)
  scores = torch.matmul(q / (float(width) ** 0.5), k.transpose(-2, -1))
  if mask is not None:
    hidden = torch.to(mask, 11)
    if mask_type is not None and mask_type == 1:
      hidden = hidden.view([n, 1, 1, keys])
    scores = torch.masked_fill(scores, hidden, float("-inf"))
  pattern = torch.softmax(scores, -1)
  context = torch.matmul(pattern, v).transpose(1, 2).reshape([n, queries, embed_dim])
  result = torch.linear(context, out_weight, out_bias)
  shown: Optional[Tensor] = None
  if need_weights:
    if average_weights:
      shown = pattern.mean(1)
    else:
      shown = pattern
  return (result, shown)

def encoder_layer(src: Tensor, embed_dim: int, heads: int, qkv_weight: Tensor, qkv_bias: Tensor, out_weight: Tensor, out_bias: Tensor, use_gelu: bool, norm_first: bool, eps: float, norm_weight_1: Tensor, norm_bias_1: Tensor, norm_weight_2: Tensor, norm_bias_2: Tensor, weight_1: Tensor, bias_1: Tensor, weight_2: Tensor, bias_2: Tensor, mask: Optional[Tensor], mask_type: Optional[int]) -> Tensor:
  x = src
  if norm_first:
    x = torch.layer_norm(x, [embed_dim], norm_weight_1, norm_bias_1, eps)
  attended = multi_head_attention(x, x, x, embed_dim, heads, qkv_weight, qkv_bias, out_weight, out_bias, mask, False, True, mask_type)
  x = attended[0] + src
  if not norm_first:
    x = torch.layer_norm(x, [embed_dim], norm_weight_1, norm_bias_1, eps)
  kept = x
  if norm_first:
    x = torch.layer_norm(x, [embed_dim], norm_weight_2, norm_bias_2, eps)
  inner = torch.linear(x, weight_1, bias_1)
  if use_gelu:
    inner = torch.gelu(inner)
  else:
    inner = torch.relu(inner)
  x = torch.linear(inner, weight_2, bias_2) + kept
  if not norm_first:
    x = torch.layer_norm(x, [embed_dim], norm_weight_2, norm_bias_2, eps)
  return x
)";

}  // namespace

torch::jit::Function* FusedOperators::parts_of(const std::string& operation) {
  static const std::map<std::string, std::string> names = {
      {"aten::channel_shuffle", "channel_shuffle"},
      {"aten::embedding_bag", "weighted_embedding_bag"},
      {"aten::_addmm_activation", "addmm_activation"},
      {"aten::_transform_bias_rescale_qkv", "transform_bias_rescale_qkv"},
      {"aten::_native_multi_head_attention", "multi_head_attention"},
      {"aten::_transformer_encoder_layer_fwd", "encoder_layer"}};
  const auto found = names.find(operation);
  if (found == names.end()) return nullptr;
  if (!functions_) functions_ = torch::jit::compile(source);
  return functions_->find_function(found->second);
}

}  // namespace microtome::host::torchscript
