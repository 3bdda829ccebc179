#include "host/run/stage_runner.h"

#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>

#include <atomic>

#include "host/run/thread_state.h"

namespace microtome::host {
namespace {

/// One chunk on its way through decoding, computing and writing.
struct Work {
  std::vector<std::int64_t> positions;
  Chunk chunk;
  std::unique_ptr<StageState> state;
  std::vector<std::pair<std::string, std::string>> skipped;
};
using WorkPointer = std::shared_ptr<Work>;

std::string range_text(const Work& work) {
  const auto last = work.positions.back();
  return "samples " + std::to_string(work.positions.front()) + " to " + std::to_string(last);
}

/// Streams a dataset through a stage: chunks are decoded and computed by several threads, written
/// and merged in their order by one at a time. At most a few chunks are in memory.
class Stream {
 public:
  Stream(const RunEnvironment& run, std::size_t stage, StageContext& context)
      : run_(run),
        stage_(run.planned.stages[stage]),
        context_(context),
        read_(*stage_.plan.read),
        data_(context.dataset(read_.data)) {}

  StageReport run() {
    const std::int64_t size = data_.info().size, chunk = context_.chunk_size();
    total_ = stage_.stage->begin(context_);
    const ThreadState state;
    std::int64_t next = 0, index = 0;
    const auto source = [&](tbb::flow_control& control) -> WorkPointer {
      if (next >= size || run_.cancellation.is_cancelled()) {
        control.stop();
        return nullptr;
      }
      auto work = std::make_shared<Work>();
      for (std::int64_t end = std::min(next + chunk, size); next < end; ++next)
        work->positions.push_back(next);
      work->chunk.index = index++;
      return work;
    };
    const auto guarded = [&](auto action) {
      return [&, action](WorkPointer work) {
        const ThreadState::Guard guard(state);
        at_samples(*work, [&] { action(*work); });
        return work;
      };
    };
    const auto decode = guarded([this](Work& work) { this->decode(work); });
    const auto compute = guarded([this](Work& work) { this->compute(work); });
    const auto collect = guarded([this](Work& work) { this->collect(work); });
    // The arena is the lane's own, so that a wait in it takes no task of another stage.
    tbb::task_arena arena(static_cast<int>(run_.jobs));
    arena.execute([&] {
      tbb::parallel_pipeline(
          run_.jobs + 2,
          tbb::make_filter<void, WorkPointer>(tbb::filter_mode::serial_in_order, source) &
              tbb::make_filter<WorkPointer, WorkPointer>(tbb::filter_mode::parallel, decode) &
              tbb::make_filter<WorkPointer, WorkPointer>(tbb::filter_mode::parallel, compute) &
              tbb::make_filter<WorkPointer, void>(tbb::filter_mode::serial_in_order,
                                                  [&](const WorkPointer& work) { collect(work); }));
    });
    run_.cancellation.check();
    const ComputeSlots::Slot slot(run_.slots);
    stage_.stage->finish(*total_, context_);
    return std::move(report_);
  }

 private:
  /// Says in errors which samples were at work, and turns what plugins throw into errors.
  template <class Action>
  static void at_samples(const Work& work, Action action) {
    try {
      action();
    } catch (const Cancelled&) {
      throw;
    } catch (Error& error) {
      error.add_where(range_text(work));
      throw;
    } catch (const c10::Error& error) {
      Error mine(error.what_without_backtrace());
      mine.add_where(range_text(work));
      throw mine;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      Error mine(error.what());
      mine.add_where(range_text(work));
      throw mine;
    }
  }

  void decode(Work& work) {
    run_.cancellation.check();
    const ComputeSlots::Slot slot(run_.slots);
    work.chunk.batch = load_batch(data_, work.positions, &work.skipped);
  }

  void compute(Work& work) {
    run_.cancellation.check();
    Chunk& chunk = work.chunk;
    if (chunk.batch.size() == 0) return;
    const ComputeSlots::Slot slot(run_.slots);
    if (!read_.model.empty()) {
      chunk.model = &context_.model(read_.model);
      chunk.inputs = context_.bind(read_.model, chunk.batch);
      if (read_.forward || !read_.capture.empty()) {
        Pass pass;
        pass.capture = read_.capture;
        pass.directions = context_.directions();
        chunk.recording = chunk.model->run(chunk.inputs, pass);
      }
    }
    work.state = stage_.stage->begin(context_);
    stage_.stage->batch(*work.state, chunk, context_);
  }

  void collect(Work& work) {
    run_.cancellation.check();
    for (auto& skipped : work.skipped) {
      context_.log(LogLevel::warning, "skipped " + skipped.first + ": " + skipped.second);
      report_.skipped.push_back(std::move(skipped));
    }
    done_ += static_cast<std::int64_t>(work.positions.size());
    if (work.state) {
      std::vector<std::string> ports;
      for (const Chunk::Emission& emission : work.chunk.emissions) {
        if (emission.rows.defined() && emission.rows.dim() > 0 &&
            emission.rows.size(0) != work.chunk.batch.size()) {
          throw Error("\"" + emission.tensor + "\" has " + std::to_string(emission.rows.size(0)) +
                      " rows for " + std::to_string(work.chunk.batch.size()) + " samples");
        }
        context_.output(emission.port).append(emission.tensor, emission.rows, emission.allow_nan);
        if (std::find(ports.begin(), ports.end(), emission.port) == ports.end())
          ports.push_back(emission.port);
      }
      for (const std::string& port : ports) context_.output(port).append_ids(work.chunk.batch.ids);
      stage_.stage->merge(*total_, *work.state, context_);
    }
    run_.journal.progress(stage_.id, done_, data_.info().size, "samples");
  }

  const RunEnvironment& run_;
  const PlannedStage& stage_;
  StageContext& context_;
  const Read& read_;
  const HostDataset& data_;
  std::unique_ptr<StageState> total_;
  std::int64_t done_ = 0;
  StageReport report_;
};

}  // namespace

StageReport run_stage(const RunEnvironment& run, std::size_t stage, StageContext& context) {
  const PlannedStage& planned = run.planned.stages[stage];
  at::set_num_threads(static_cast<int>(run.planned.pipeline.runtime.threads));
  StageReport report;
  if (planned.plan.read) {
    report = Stream(run, stage, context).run();
  } else {
    planned.stage->run(context);
  }
  run.cancellation.check();
  context.finish_outputs();
  return report;
}

}  // namespace microtome::host
