#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/artifact.h"
#include "microtome/context.h"
#include "microtome/dataset.h"
#include "microtome/model.h"
#include "microtome/script_module.h"

namespace [[gnu::visibility("default")]] microtome {

/// An output as planned.
struct OutputPlan {
  std::string port;
  std::string kind;
  std::vector<TensorInfo> tensors;
  /// For a model: its structure, with parameters of the right shapes and any values, so that what
  /// reads it can be checked before it is trained.
  std::shared_ptr<const ScriptModule> module = nullptr;
};

/// A look at a model over a dataset that the host drives, chunk by chunk.
struct Read {
  std::string data = "data";       ///< port of the dataset
  std::string model;               ///< port of the model; empty: the samples alone are wanted
  std::vector<HookPoint> capture;  ///< values of the model to bring with each chunk
  bool forward = false;            ///< run the model; its outputs come with each chunk
};

/// What a stage will do, known before there is data. Cheap to make.
struct Plan {
  std::vector<OutputPlan> outputs;
  std::optional<Read> read;     ///< nothing: the stage drives itself in `run`
  bool gradients = false;       ///< it differentiates the model
  bool random = false;          ///< it draws random numbers: the seed is part of what it is
  double bytes_per_sample = 0;  ///< that it keeps of a chunk beyond what a run of the model needs
  /// Rows that go through a model together for each sample of a chunk: 2 where samples run beside
  /// their references.
  std::int64_t rows_per_sample = 1;
  /// Rows that a stage which changes each sample many times fills a run of the model up to, where a
  /// chunk gives fewer.
  std::int64_t rows_at_least = 1;
  /// It uses hook points that its parameters do not name: every value of its models is made.
  bool any_hook = false;
  /// It takes values that were computed in bfloat16 or float16 where a run asks for that.
  bool tolerates_reduced_precision = false;

  /// Rows that go through a model together when a chunk has so many samples, at most.
  std::int64_t rows(std::int64_t chunk) const {
    return std::max(chunk * rows_per_sample, rows_at_least);
  }
};

/// What is known of a stage's inputs when it is planned. Mistakes are added to `problems`, so that
/// all are found at once. Implemented by the host. [one thread]
class PlanInputs {
 public:
  virtual ~PlanInputs();
  virtual Problems& problems() const = 0;
  virtual bool connected(const std::string& port) const = 0;
  /// nullptr when the input is absent or is itself wrong; that is said elsewhere.
  virtual const Model* model(const std::string& port) const = 0;
  virtual const DatasetInfo* dataset(const std::string& port) const = 0;
  virtual const OutputPlan* artifact(const std::string& port) const = 0;

  /// What the model at `port` has at `hook`; adds a problem and returns nothing when there is none.
  /// The stage's runs of that model make the value as it was: hook points that a stage uses and has
  /// not asked for here may be folded away (see `Plan::any_hook`).
  std::optional<HookPointInfo> resolve(const std::string& port, const HookPoint& hook) const;
  /// The model's output called `name`, or its only one. Adds a problem where there is none, or
  /// several and no name; nullptr then, and while it is not known.
  const PortInfo* check_output(const std::string& model_port, const std::string& name,
                               const Location& location) const;
  /// Checks that `target` can be meant: its output, its field and its hook exist, its class is in
  /// range.
  void check_target(const std::string& model_port, const std::string& data_port,
                    const struct Target& target) const;

 protected:
  /// Hears of a hook point that exists and that the stage will use.
  virtual void will_use(const std::string& port, const HookPoint& hook) const;
};

/// What one chunk brings to a streaming stage, and where it writes.
struct Chunk {
  Batch batch;
  NamedTensors inputs;                 ///< bound to the model's inputs, on the stage's device
  const Model* model = nullptr;        ///< for further runs on this chunk
  std::optional<Recording> recording;  ///< when the read asked to run the model
  std::int64_t index = 0;              ///< number of the chunk

  /// Rows of a per-sample output; written to disk in the order of chunks, whatever the order of
  /// computing.
  void emit(std::string port, std::string tensor, at::Tensor rows, bool allow_nan = false);

  struct Emission {
    std::string port, tensor;
    at::Tensor rows;
    bool allow_nan = false;
  };
  std::vector<Emission> emissions;
};

/// State of a streaming stage over some chunks.
class StageState {
 public:
  virtual ~StageState();
  /// As `Stage::capability`.
  virtual void* capability(std::string_view id);
};

/// One analysis. Life: constructed from parameters; `plan` (any number of times); then, when its
/// plan has a read, `begin`, `batch`, `merge`, `finish`, else `run`. A stage keeps nothing of a run
/// in itself: methods are const and may be called for several runs.
class Stage {
 public:
  virtual ~Stage();

  /// Fills `plan`, which the host made. [cheap, no data; one thread]
  virtual void plan(const PlanInputs& inputs, Plan& plan) const = 0;

  /// An empty state. [called for each chunk, any thread]
  virtual std::unique_ptr<StageState> begin(Context& context) const;
  /// Takes one chunk into `state`. [any thread, several at once with states of their own]
  virtual void batch(StageState& state, Chunk& chunk, Context& context) const;
  /// Takes `later` into `earlier`. [one thread, in the order of chunks]
  virtual void merge(StageState& earlier, StageState& later, Context& context) const;
  /// [one thread, once, after the last merge]
  virtual void finish(StageState& state, Context& context) const;

  /// For stages that drive themselves. [the lane's own thread]
  virtual void run(Context& context) const;

  /// What else it can do, by id; nullptr when it cannot. All that later versions of the SDK bring
  /// to stages comes through here.
  virtual void* capability(std::string_view id);
};

/// A streaming stage whose state is a plain struct with a default constructor.
template <class StateType>
class StreamingStage : public Stage {
 public:
  using State = StateType;

  virtual void batch(State& state, Chunk& chunk, Context& context) const = 0;
  virtual void merge(State& earlier, State&& later) const = 0;
  virtual void finish(State& state, Context& context) const = 0;

  std::unique_ptr<StageState> begin(Context&) const final { return std::make_unique<Holder>(); }
  void batch(StageState& state, Chunk& chunk, Context& context) const final {
    batch(static_cast<Holder&>(state).state, chunk, context);
  }
  void merge(StageState& earlier, StageState& later, Context&) const final {
    merge(static_cast<Holder&>(earlier).state, std::move(static_cast<Holder&>(later).state));
  }
  void finish(StageState& state, Context& context) const final {
    finish(static_cast<Holder&>(state).state, context);
  }

 private:
  struct Holder final : StageState {
    State state;
  };
};

}  // namespace microtome
