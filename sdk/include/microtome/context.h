#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "microtome/artifact.h"
#include "microtome/dataset.h"
#include "microtome/model.h"
#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

enum class LogLevel { debug, info, warning, error };

/// One member of a matrix or a list at an input that takes all of them.
struct ArtifactMember {
  std::string stage;                                         ///< as the pipeline calls it
  std::vector<std::pair<std::string, std::string>> element;  ///< keys and values of the matrix
  const ArtifactReader* artifact = nullptr;

  /// `ig`, or `ig [steps=8]` for a member of a matrix.
  std::string label() const;
};

/// What a running stage may use. Implemented by the host and by the test harness.
/// [any thread of the stage, unless said otherwise; lives as long as the stage runs]
class Context {
 public:
  virtual ~Context();

  virtual void log(LogLevel level, const std::string& message) = 0;
  /// Tells how far the work is, for stages that drive themselves. [cheap]
  virtual void progress(std::int64_t done, std::int64_t total) = 0;
  /// Throws `Cancelled` when the run is ending. Long loops call it.
  virtual void check_cancelled() const = 0;

  /// The device that this stage computes on.
  virtual at::Device device() const = 0;
  /// A generator whose numbers depend on the run's seed, the stage and `stream` alone. A stage that
  /// uses it says `random` in its plan.
  virtual at::Generator generator(std::uint64_t stream) const = 0;
  /// How many samples a chunk has: the unit in which work is cut, whatever the machine.
  virtual std::int64_t chunk_size() const = 0;

  /// Inputs by port; throw `Error` when the port is not connected.
  virtual const Model& model(const std::string& port) = 0;
  virtual const Dataset& dataset(const std::string& port) = 0;
  virtual const ArtifactReader& artifact(const std::string& port) = 0;
  /// The vector of a direction that a parameter names, [D] float32.
  at::Tensor direction(const DirectionReference& reference);
  /// The same for passes; valid as long as the context.
  Directions directions();
  /// All members at a port that is `many`, in the order of the matrix or the list.
  virtual std::vector<ArtifactMember> members(const std::string& port) = 0;
  /// The fields of a batch that feed the model at `port`, by the names of the model's inputs.
  virtual NamedTensors bind(const std::string& port, const Batch& batch) = 0;
  /// For a port that takes one field of a dataset: its name.
  virtual std::string field(const std::string& port) = 0;
  /// The field of a dataset at `port` for the samples with these ids, [ids] int64 or float64.
  at::Tensor values_of(const std::string& port, const std::vector<std::string>& ids);
  virtual bool connected(const std::string& port) const = 0;

  /// Writes to an output of the plan. [the stage's own thread: begin, merge, finish, run]
  virtual ArtifactWriter& output(const std::string& port) = 0;

  /// Runs `body(0..count-1)` on the lane's threads and returns when all are done; the first error
  /// is thrown. Gradient and inference mode of the caller hold inside.
  virtual void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body) = 0;
  /// A folder of the stage's own that is gone afterwards.
  virtual std::filesystem::path scratch() = 0;
};

}  // namespace microtome
