#include "host/model/plan/plan.h"

#include "host/model/plan/rewriting.h"

namespace microtome::host {
namespace rewriting {

void for_each_node(Block& block, const std::function<void(Node&)>& visit) {
  for (Node& node : block.nodes) {
    visit(node);
    for (Block& inner : node.blocks) for_each_node(inner, visit);
  }
}

void rename_reads(Program& program, const std::unordered_map<ValueId, ValueId>& names) {
  if (names.empty()) return;
  const auto rename = [&](ValueId& value) {
    if (const auto found = names.find(value); found != names.end()) value = found->second;
  };
  for_each_node(program.body, [&](Node& node) {
    for (ValueId& input : node.inputs) rename(input);
    for (Block& block : node.blocks) {
      for (ValueId& result : block.results) rename(result);
    }
  });
}

ValueId add_constant(Program& program, c10::IValue value) {
  program.constants.push_back(std::move(value));
  return -static_cast<ValueId>(program.constants.size());
}

at::Tensor constant_tensor(const Program& program, ValueId value) {
  if (value >= 0 || !program.constant(value).isTensor()) return {};
  return program.constant(value).toTensor();
}

bool is_recorded(const at::Tensor& value) {
  return at::GradMode::is_enabled() && value.requires_grad();
}

std::optional<ChannelAffine> constant_batch_norm(const Program& program, const Node& node) {
  if (node.info.operation != "aten::batch_norm" || node.inputs.size() != 9) return std::nullopt;
  const auto constant = [&](std::size_t i) -> const c10::IValue* {
    return node.inputs[i] < 0 ? &program.constant(node.inputs[i]) : nullptr;
  };
  for (const std::size_t i : {1, 2, 3, 4, 5, 7}) {
    if (constant(i) == nullptr) return std::nullopt;
  }
  if (!constant(5)->isBool() || constant(5)->toBool() || !constant(7)->isDouble() ||
      !constant(3)->isTensor() || !constant(4)->isTensor())
    return std::nullopt;
  const at::Tensor mean = constant(3)->toTensor().to(at::kDouble);
  at::Tensor scale = (constant(4)->toTensor().to(at::kDouble) + constant(7)->toDouble()).rsqrt();
  if (constant(1)->isTensor()) scale = scale * constant(1)->toTensor().to(at::kDouble);
  at::Tensor shift = -mean * scale;
  if (constant(2)->isTensor()) shift = shift + constant(2)->toTensor().to(at::kDouble);
  return ChannelAffine{scale, shift};
}

bool is_convolution(const Program& program, const Node& node) {
  if (node.kind != Node::Kind::operation || node.inputs.size() < 7) return false;
  const std::string& name = node.info.operation;
  if (name == "aten::_convolution") {
    const ValueId transposed = node.inputs[6];
    if (transposed >= 0 || !program.constant(transposed).isBool() ||
        program.constant(transposed).toBool())
      return false;
  } else if (name != "aten::conv1d" && name != "aten::conv2d" && name != "aten::conv3d") {
    return false;
  }
  return constant_tensor(program, node.inputs[1]).defined();
}

Readers::Readers(Program& program, const std::set<std::string>& unseen) {
  for_each_node(program.body, [&](Node& node) {
    if (unseen.contains(node.info.operation)) return;
    for (const ValueId input : node.inputs) ++count[input];
    for (const Block& block : node.blocks) {
      for (const ValueId result : block.results) ++count[result];
    }
  });
  for (const ProgramPort& output : program.outputs) ++count[output.value];
  for (std::size_t i = 0; i < program.body.nodes.size(); ++i) {
    for (const ValueId output : program.body.nodes[i].outputs) maker[output] = i;
  }
}

int Readers::of(ValueId value) const {
  const auto found = count.find(value);
  return found == count.end() ? 0 : found->second;
}

std::optional<Chain> chain_to(const Program& program, const Readers& readers,
                              const std::set<ValueId>& hooked, ValueId value) {
  Chain chain;
  while (value >= 0 && !hooked.contains(value) && readers.of(value) == 1) {
    const auto maker = readers.maker.find(value);
    if (maker == readers.maker.end()) break;
    chain.between.insert(value);
    chain.maker = maker->second;
    const Node& node = program.body.nodes[maker->second];
    if (node.kind != Node::Kind::identity) return chain;
    value = node.inputs[0];
  }
  return std::nullopt;
}

void lose_sites(Program& program, const std::set<ValueId>& values) {
  for (HookSite& site : program.sites) {
    if (values.contains(site.value)) site.is_gone = true;
  }
}

}  // namespace rewriting

std::string PlanSettings::text() const {
  std::string text;
  for (const bool setting :
       {fold_constants, fold_batch_norm, pool_before_relu, channels_last, in_place, equal_rows_once,
        affine_prefix, pool_channels_last, batch_norm_gradients, winograd_gradients})
    text += setting ? '1' : '0';
  return text + c10::toString(precision);
}

Value PlanReport::to_value() const {
  Value value = Value::map();
  value.set("constants_folded", constants_folded);
  value.set("batch_norms_folded", batch_norms_folded);
  value.set("relus_after_pooling", relus_after_pooling);
  value.set("in_place", in_place);
  value.set("channels_last", channels_last);
  value.set("pooled_channels_last", pooled_channels_last);
  value.set("batch_norm_gradients", batch_norm_gradients);
  value.set("winograd_gradients", winograd_gradients);
  value.set("winograd_filter_bytes", winograd_filter_bytes);
  value.set("equal_rows_once", equal_rows_once);
  value.set("precision", c10::toString(precision));
  return value;
}

Program plan_program(const Program& program, const std::set<ValueId>& hooked,
                     const PlanSettings& settings, PlanReport& report) {
  Program planned = program;
  const at::NoGradGuard no_gradients;
  if (settings.fold_constants) report.constants_folded = rewriting::fold_constants(planned, hooked);
  if (settings.fold_batch_norm)
    report.batch_norms_folded = rewriting::fold_batch_norms(planned, hooked);
  if (settings.pool_before_relu)
    report.relus_after_pooling = rewriting::pool_before_relu(planned, hooked);
  if (settings.channels_last) report.channels_last = rewriting::put_channels_last(planned);
  if (settings.pool_channels_last && !report.channels_last)
    report.pooled_channels_last = rewriting::pool_channels_last(planned);
  if (settings.batch_norm_gradients)
    report.batch_norm_gradients = rewriting::scale_batch_norm_gradients(planned);
  if (settings.winograd_gradients) {
    const rewriting::FilteredGradients filtered = rewriting::filter_gradients(planned);
    report.winograd_gradients = filtered.convolutions;
    report.winograd_filter_bytes = filtered.bytes;
  }
  if (settings.precision != at::kFloat) {
    rewriting::reduce_precision(planned, settings.precision);
    report.precision = settings.precision;
  }
  planned.shares_affine_prefix = settings.affine_prefix;
  planned.computes_equal_rows_once = report.equal_rows_once = settings.equal_rows_once;
  if (settings.in_place) report.in_place = rewriting::allow_in_place(planned);
  find_last_uses(planned);
  return planned;
}

}  // namespace microtome::host
