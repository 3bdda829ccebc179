#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <thread>

#include "host/cli/commands.h"
#include "host/pipeline/checker.h"
#include "host/pipeline/memory.h"
#include "host/report/report.h"
#include "host/run/runner.h"
#include "host/run/shared_passes.h"
#include "host/store/store.h"

namespace microtome::host {

at::Device parse_device(const std::string& text) {
  try {
    const at::Device device(text);
    if (device.is_cpu()) return device;
    if (device.is_cuda() && at::hasCUDA()) return device;
  } catch (const c10::Error&) {
    throw Error("--device: \"" + text + "\" is no device; write cpu, cuda or cuda:0");
  }
  throw Error("--device: this LibTorch has no " + text);
}

void print_problems(const Problems& problems, const std::string& file) {
  std::vector<Problem> sorted = problems.list();
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.location.line, a.location.column) <
           std::tie(b.location.line, b.location.column);
  });
  for (const Problem& problem : sorted) {
    const Location& place = problem.location;
    std::cerr << (place.file.empty() ? file : place.file);
    if (place.known()) std::cerr << ':' << place.line << ':' << place.column;
    std::cerr << ": error: " << problem.message << '\n';
  }
  std::cerr << problems.size() << (problems.size() == 1 ? " mistake" : " mistakes")
            << "; nothing was run\n";
}

namespace {

/// Checks a pipeline; prints what is wrong.
std::optional<PlannedPipeline> checked(const RunArguments& arguments, Catalog& catalog,
                                       ExitStatus& status) {
  Problems problems;
  const at::Device device = parse_device(arguments.device);
  Pipeline pipeline = read_pipeline(arguments.file, arguments.overrides, problems);
  // Without a structure, errors of what it refers to would only repeat it.
  PlannedPipeline planned = check_pipeline(std::move(pipeline), catalog, device, problems);
  if (problems.empty()) return planned;
  print_problems(problems, arguments.file);
  status = planned.plugin_refused ? ExitStatus::plugin_refused : ExitStatus::wrong_input;
  return std::nullopt;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape)
    text += (text.empty() ? "" : " x ") + (size < 0 ? "N" : std::to_string(size));
  return text;
}

/// With which stages this one shares its pass; of many the first and how many more.
void print_sharing(const PlannedPipeline& planned, const std::vector<std::size_t>& groups,
                   std::size_t stage) {
  constexpr std::size_t most_named = 4;
  std::vector<std::size_t> others;
  for (const std::size_t k : planned.order) {
    if (k != stage && groups[k] == groups[stage]) others.push_back(k);
  }
  if (others.empty()) return;
  const std::size_t named = others.size() <= most_named ? others.size() : 1;
  std::cout << ", in one pass with ";
  for (std::size_t k = 0; k < named; ++k)
    std::cout << (k == 0 ? "" : ", ") << planned.stages[others[k]].id;
  if (named < others.size()) std::cout << " and " << others.size() - named << " more";
}

void print_memory(const ModelMemory& memory, const PlannedStage& stage,
                  const RuntimeSettings& runtime) {
  const auto mebibytes = [](double bytes) {
    return std::to_string(static_cast<std::int64_t>(std::ceil(bytes / 1048576))) + " MiB";
  };
  const std::int64_t samples = std::min(memory.rows, stage.chunk);
  std::cout << ", " << samples << (samples == 1 ? " sample" : " samples");
  if (memory.rows > samples) std::cout << " as " << memory.rows << " rows";
  std::cout << " at a time, about " << mebibytes(memory.values) << " for each of --jobs";
  if (!memory.is_allowed) std::cout << " (runtime: {memory: " << runtime.memory << "} allows less)";
  std::cout << " and " << mebibytes(static_cast<double>(memory.fixed)) << " once";
}

/// Which fields feed a model.
void print_bindings(const PlannedPipeline& planned, const PlannedStage& stage,
                    const std::string& port) {
  const auto data = planned.resources.datasets.find(stage.bound_dataset);
  const auto bound = stage.bindings.find(port);
  const ProgramModel* model = planned.model(stage, port);
  if (data == planned.resources.datasets.end() || bound == stage.bindings.end() || model == nullptr)
    return;
  const auto& inputs = model->inputs();
  const auto normalised = model->normalised_input();
  for (const Binding& binding : bound->second) {
    const bool is_pixels = normalised && inputs[*normalised].name == binding.input;
    std::cout << "      " << describe_binding(binding, data->second->info(), is_pixels) << '\n';
  }
  for (const PortInfo& input : inputs) {
    const bool is_bound =
        std::any_of(bound->second.begin(), bound->second.end(),
                    [&](const Binding& binding) { return binding.input == input.name; });
    if (!is_bound) std::cout << "      " << input.name << " is left out\n";
  }
}

/// How a stage's models run, what feeds them, and the memory that they will need.
void print_models(const PlannedPipeline& planned, const PlannedStage& stage) {
  const RuntimeSettings& runtime = planned.pipeline.runtime;
  for (const auto& [port, model] : stage.running) {
    const PlanReport& report = model->plan_report();
    std::cout << "    " << port << ": " << model->name();
    if (report.batch_norms_folded > 0)
      std::cout << ", " << report.batch_norms_folded << " batch norms folded";
    if (report.relus_after_pooling > 0)
      std::cout << ", " << report.relus_after_pooling << " ReLUs after pooling";
    if (report.constants_folded > 0)
      std::cout << ", " << report.constants_folded << " constants folded";
    if (report.channels_last) std::cout << ", channels last";
    if (report.pooled_channels_last > 0)
      std::cout << ", " << report.pooled_channels_last << " max pools channels last";
    if (report.batch_norm_gradients > 0)
      std::cout << ", " << report.batch_norm_gradients << " batch norms back by one product";
    if (report.winograd_gradients > 0)
      std::cout << ", " << report.winograd_gradients
                << " convolutions back by Winograd's filtering";
    if (report.precision != at::kFloat) std::cout << ", " << c10::toString(report.precision);
    if (const auto memory = memory_of(stage, port, *model, runtime))
      print_memory(*memory, stage, runtime);
    std::cout << '\n';
    print_bindings(planned, stage, port);
  }
  // Those that other stages make.
  for (const auto& [port, bound] : stage.bindings) {
    if (stage.running.contains(port)) continue;
    std::cout << "    " << port << ": " << planned.model(stage, port)->name() << '\n';
    print_bindings(planned, stage, port);
  }
}

}  // namespace

ExitStatus check_command(const RunArguments& arguments, Catalog& catalog) {
  ExitStatus status = ExitStatus::done;
  const auto planned = checked(arguments, catalog, status);
  if (!planned) return status;
  std::cout << planned->pipeline.name << ": " << planned->stages.size()
            << " stages, in this order\n";
  for (const auto& [name, dataset] : planned->resources.datasets) {
    for (const std::string& remark : dataset->remarks())
      std::cout << "  dataset " << name << ": " << remark << '\n';
    if (!dataset->info().skipped.empty())
      std::cout << "  " << skipped_text(dataset->info()) << '\n';
  }
  const std::vector<std::size_t> groups = pass_groups(*planned);
  for (const std::size_t i : planned->order) {
    const PlannedStage& stage = planned->stages[i];
    std::cout << "  " << stage.id << " (" << stage.type->description().type << ")";
    if (stage.plan.gradients) std::cout << ", gradients";
    if (stage.plan.random) std::cout << ", random";
    print_sharing(*planned, groups, i);
    std::cout << '\n';
    print_models(*planned, stage);
    for (const OutputPlan& output : stage.plan.outputs) {
      std::cout << "    " << output.port << ": " << output.kind << '\n';
      for (const TensorInfo& tensor : output.tensors) {
        std::cout << "      " << tensor.name << "  " << c10::toString(tensor.type) << "  "
                  << shape_text(tensor.shape) << '\n';
      }
    }
  }
  return ExitStatus::done;
}

ExitStatus run_command(const RunArguments& arguments, Catalog& catalog,
                       Cancellation& cancellation) {
  ExitStatus status = ExitStatus::done;
  const auto planned = checked(arguments, catalog, status);
  if (!planned) return status;
  RunOptions options;
  options.jobs =
      arguments.jobs > 0 ? arguments.jobs : std::max(1U, std::thread::hardware_concurrency());
  options.device = parse_device(arguments.device);
  options.only = arguments.only;
  options.fresh = arguments.fresh;
  options.profile = arguments.profile;
  options.runs = arguments.runs;
  options.store =
      arguments.store.empty() ? Store::default_root() : std::filesystem::path(arguments.store);
  Journal journal(arguments.journal);
  const RunSummary summary = run_pipeline(*planned, catalog, options, cancellation, journal, [] {
    std::cerr << "interrupted; run the same command again to go on\n";
    _exit(static_cast<int>(ExitStatus::interrupted));
  });
  try {
    const auto page = report::write(summary.folder);
    if (!arguments.journal.quiet && !arguments.journal.json)
      std::cerr << "report: " << page.string() << '\n';
  } catch (const std::exception& error) {
    journal.log(LogLevel::warning, "", std::string("the report was not written: ") + error.what());
  }
  journal.close();
  std::cout << summary.folder.string() << '\n';
  switch (summary.result) {
    case RunResult::done:
      return ExitStatus::done;
    case RunResult::failed:
      return ExitStatus::stage_failed;
    case RunResult::interrupted:
      break;
  }
  std::cerr << "interrupted; run the same command again to go on\n";
  return ExitStatus::interrupted;
}

ExitStatus report_command(const std::string& run) {
  std::cout << report::write(run).string() << '\n';
  return ExitStatus::done;
}

}  // namespace microtome::host
