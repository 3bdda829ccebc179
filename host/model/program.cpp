#include "host/model/program.h"

#include <unordered_set>

namespace microtome::host {
namespace {

void collect_reads(const Block& block, std::unordered_set<ValueId>& reads) {
  for (const Node& node : block.nodes) {
    reads.insert(node.inputs.begin(), node.inputs.end());
    for (const Block& inner : node.blocks) collect_reads(inner, reads);
  }
  reads.insert(block.results.begin(), block.results.end());
}

void find_last_uses(Block& block, const std::vector<ValueId>& inputs) {
  std::unordered_set<ValueId> own(inputs.begin(), inputs.end());
  own.insert(block.parameters.begin(), block.parameters.end());
  for (const Node& node : block.nodes) own.insert(node.outputs.begin(), node.outputs.end());
  std::unordered_set<ValueId> read_later(block.results.begin(), block.results.end());
  for (auto node = block.nodes.rbegin(); node != block.nodes.rend(); ++node) {
    node->last_uses.clear();
    std::unordered_set<ValueId> reads(node->inputs.begin(), node->inputs.end());
    for (const Block& inner : node->blocks) collect_reads(inner, reads);
    // Results that nobody reads die at once.
    reads.insert(node->outputs.begin(), node->outputs.end());
    for (const ValueId id : reads) {
      if (id >= 0 && own.contains(id) && read_later.insert(id).second)
        node->last_uses.push_back(id);
    }
    for (Block& inner : node->blocks) find_last_uses(inner, {});
  }
}

}  // namespace

void find_last_uses(Program& program) {
  std::vector<ValueId> inputs;
  for (const ProgramPort& input : program.inputs) inputs.push_back(input.value);
  program.body.results.clear();
  for (const ProgramPort& output : program.outputs) program.body.results.push_back(output.value);
  find_last_uses(program.body, inputs);
}

void add_normalisation(Program& program, std::size_t place, const at::Tensor& mean,
                       const at::Tensor& std) {
  const auto constant = [&](const at::Tensor& value) {
    program.constants.emplace_back(value.view({-1, 1, 1}));
    return -static_cast<ValueId>(program.constants.size());
  };
  ProgramPort& input = program.inputs.at(place);
  Node node;
  node.info.operation = "microtome::normalise";
  node.inputs = {program.value_count, constant(mean), constant(std)};
  node.outputs = {input.value};
  node.info.inputs.assign(node.inputs.begin(), node.inputs.end());
  node.info.outputs.assign(node.outputs.begin(), node.outputs.end());
  node.call = [](Stack& stack) {
    const at::Tensor scale = stack.back().toTensor();
    stack.pop_back();
    const at::Tensor shift = stack.back().toTensor();
    stack.pop_back();
    const at::Tensor pixels = stack.back().toTensor();
    stack.back() = (pixels - shift) / scale;
  };
  input.value = program.value_count++;
  program.body.nodes.insert(program.body.nodes.begin(), std::move(node));
  program.sites.insert(program.sites.begin(),
                       {parse_hook_point("pixels"), input.value, "input", true, false});
}

void move_to(Program& program, at::Device device) {
  for (c10::IValue& constant : program.constants) {
    if (constant.isTensor()) constant = constant.toTensor().to(device);
    // A device that the model's code names is where its author traced it; it follows the model.
    if (constant.isDevice()) constant = device;
  }
}

}  // namespace microtome::host
