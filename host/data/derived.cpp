#include "host/data/derived.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "host/data/permutation.h"
#include "host/support/hash.h"

namespace microtome::host {
namespace {

using Shared = std::shared_ptr<const HostDataset>;

/// Some samples of another dataset, in an order.
class Selection final : public HostDataset {
 public:
  Selection(const std::string& name, Shared from, std::vector<std::int64_t> positions,
            std::int64_t draw_size = 0)
      : from_(std::move(from)), positions_(std::move(positions)), draw_size_(draw_size) {
    info_ = from_->info();
    info_.name = name;
    info_.size = static_cast<std::int64_t>(positions_.size());
    if (draw_size_ > 0) info_.fields.push_back({"draw", at::kLong, {}, {}, false});
    if (positions_.empty()) throw Error("the dataset \"" + name + "\" is empty");
  }
  std::string id(std::int64_t position) const override {
    const std::string id = from_->id(positions_.at(static_cast<std::size_t>(position)));
    return draw_size_ > 0 ? std::to_string(position / draw_size_) + "/" + id : id;
  }
  Sample read(std::int64_t position) const override {
    Sample sample = from_->read(positions_.at(static_cast<std::size_t>(position)));
    sample.id = id(position);
    if (draw_size_ > 0)
      sample.fields.set("draw", at::scalar_tensor(position / draw_size_, at::kLong));
    return sample;
  }
  Value scalar(std::int64_t position, const std::string& field) const override {
    if (draw_size_ > 0 && field == "draw") return position / draw_size_;
    return from_->scalar(positions_.at(static_cast<std::size_t>(position)), field);
  }
  std::string content_hash(ContentIndex& index) const override {
    std::string all = from_->content_hash(index) + " " + std::to_string(draw_size_);
    return hash_text(all + " " +
                     hash_text({reinterpret_cast<const char*>(positions_.data()),
                                positions_.size() * sizeof(std::int64_t)}));
  }

 private:
  Shared from_;
  std::vector<std::int64_t> positions_;
  std::int64_t draw_size_;
};

class Zip final : public HostDataset {
 public:
  Zip(const std::string& name, std::vector<std::pair<std::string, Shared>> parts)
      : parts_(std::move(parts)) {
    info_.name = name;
    std::vector<std::unordered_map<std::string, std::int64_t>> places(parts_.size());
    for (std::size_t k = 0; k < parts_.size(); ++k) {
      const auto& [prefix, part] = parts_[k];
      for (const SkippedSample& sample : part->info().skipped)
        info_.skipped.push_back({sample.id, prefix + ": " + sample.why});
      for (std::int64_t i = 0; i < part->info().size; ++i) {
        if (!places[k].emplace(part->id(i), i).second)
          throw Error("the dataset \"" + part->info().name + "\" has the id \"" + part->id(i) +
                      "\" twice, so it can't be paired by id");
      }
      for (FieldInfo field : part->info().fields) {
        field.name = prefix + "." + field.name;
        info_.fields.push_back(std::move(field));
      }
    }
    for (std::int64_t i = 0; i < parts_[0].second->info().size; ++i) {
      std::vector<std::int64_t> row;
      for (const auto& ids : places) {
        const auto found = ids.find(parts_[0].second->id(i));
        if (found != ids.end()) row.push_back(found->second);
      }
      if (row.size() == parts_.size()) rows_.push_back(std::move(row));
    }
    info_.size = static_cast<std::int64_t>(rows_.size());
    if (rows_.empty()) throw Error("the datasets of \"" + name + "\" have no id in common");
  }
  std::string id(std::int64_t position) const override {
    return parts_[0].second->id(rows_.at(static_cast<std::size_t>(position))[0]);
  }
  Sample read(std::int64_t position) const override {
    Sample sample{id(position), {}};
    for (std::size_t k = 0; k < parts_.size(); ++k) {
      const Sample part = parts_[k].second->read(rows_.at(static_cast<std::size_t>(position))[k]);
      for (const auto& [field, value] : part.fields)
        sample.fields.set(parts_[k].first + "." + field, value);
    }
    return sample;
  }
  Value scalar(std::int64_t position, const std::string& field) const override {
    for (std::size_t k = 0; k < parts_.size(); ++k) {
      const std::string prefix = parts_[k].first + ".";
      if (field.rfind(prefix, 0) == 0)
        return parts_[k].second->scalar(rows_.at(static_cast<std::size_t>(position))[k],
                                        field.substr(prefix.size()));
    }
    throw Error("the dataset \"" + info_.name + "\" has no field \"" + field + "\"");
  }
  std::string content_hash(ContentIndex& index) const override {
    std::string all;
    for (const auto& [prefix, part] : parts_)
      all += prefix + " " + part->content_hash(index) + "\n";
    return hash_text(all);
  }

 private:
  std::vector<std::pair<std::string, Shared>> parts_;
  std::vector<std::vector<std::int64_t>> rows_;
};

/// The value of a condition as the field has it: a class's name becomes its number.
Value field_value(const HostDataset& from, const Value::Entry& condition, const Value& wanted) {
  const FieldInfo* field = from.info().find(condition.key);
  if (field == nullptr) {
    std::vector<std::string> names;
    for (const FieldInfo& info : from.info().fields) names.push_back(info.name);
    throw Error(condition.key_location, "the dataset \"" + from.info().name + "\" has no field \"" +
                                            condition.key + "\"" +
                                            suggestion(condition.key, names));
  }
  if (!wanted.is_string() || field->class_names.empty()) return wanted;
  const auto found =
      std::find(field->class_names.begin(), field->class_names.end(), wanted.as_string());
  if (found == field->class_names.end()) {
    throw Error(wanted.location(), "the field \"" + condition.key + "\" has no class \"" +
                                       wanted.as_string() + "\"" +
                                       suggestion(wanted.as_string(), field->class_names));
  }
  if (const auto again = std::find(found + 1, field->class_names.end(), *found);
      again != field->class_names.end()) {
    throw Error(wanted.location(), "classes " + std::to_string(found - field->class_names.begin()) +
                                       " and " +
                                       std::to_string(again - field->class_names.begin()) +
                                       " are both called \"" + *found + "\"; write the number");
  }
  return static_cast<std::int64_t>(found - field->class_names.begin());
}

}  // namespace

std::shared_ptr<HostDataset> where(const std::string& name, Shared from, const Value& conditions) {
  std::vector<std::pair<std::string, std::vector<Value>>> wanted;
  for (const auto& entry : conditions.as_map()) {
    std::vector<Value> values;
    if (entry.value.is_list()) {
      for (const Value& item : entry.value.as_list())
        values.push_back(field_value(*from, entry, item));
    } else {
      values.push_back(field_value(*from, entry, entry.value));
    }
    wanted.emplace_back(entry.key, std::move(values));
  }
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < from->info().size; ++i) {
    const bool all = std::all_of(wanted.begin(), wanted.end(), [&](const auto& condition) {
      const Value value = from->scalar(i, condition.first);
      return std::find(condition.second.begin(), condition.second.end(), value) !=
             condition.second.end();
    });
    if (all) positions.push_back(i);
  }
  return std::make_shared<Selection>(name, std::move(from), std::move(positions));
}

std::shared_ptr<HostDataset> split(const std::string& name, Shared from, const Value& how) {
  const Value* train = how.find("train");
  const Value* test = how.find("test");
  if ((train == nullptr) == (test == nullptr))
    throw Error(how.location(), "a split is one part: say train: 0.8, or test: 0.2");
  const double fraction = (train != nullptr ? train : test)->as_number();
  if (!(fraction > 0 && fraction <= 1))
    throw Error((train != nullptr ? train : test)->location(),
                "a part is a fraction above 0 and at most 1");
  const Value* by = how.find("by");
  const Value* seed = how.find("seed");
  std::map<std::string, std::vector<std::int64_t>> groups;
  for (std::int64_t i = 0; i < from->info().size; ++i) {
    groups[by == nullptr ? "" : to_json(from->scalar(i, by->as_string()))].push_back(i);
  }
  std::vector<std::int64_t> positions;
  std::uint64_t group_seed = seed == nullptr ? 0 : static_cast<std::uint64_t>(seed->as_integer());
  for (const auto& [key, members] : groups) {
    const auto order = seeded_permutation(members.size(), group_seed++ * 0x9E3779B97F4A7C15U);
    const auto share =
        static_cast<std::size_t>(std::llround(fraction * static_cast<double>(members.size())));
    for (std::size_t i = 0; i < share; ++i) {
      positions.push_back(members[order[train != nullptr ? i : members.size() - 1 - i]]);
    }
  }
  std::sort(positions.begin(), positions.end());
  return std::make_shared<Selection>(name, std::move(from), std::move(positions));
}

std::shared_ptr<HostDataset> draw(const std::string& name, Shared from, std::int64_t count,
                                  std::int64_t times, std::uint64_t seed) {
  const std::int64_t size = from->info().size;
  if (count > size)
    throw Error("the dataset \"" + name + "\" draws " + std::to_string(count) + " of " +
                std::to_string(size) + " samples");
  std::vector<std::int64_t> positions;
  for (std::int64_t time = 0; time < times; ++time) {
    const auto order =
        seeded_permutation(static_cast<std::size_t>(size),
                           (seed + 1) * 0x9E3779B97F4A7C15U + static_cast<std::uint64_t>(time));
    for (std::int64_t i = 0; i < count; ++i)
      positions.push_back(static_cast<std::int64_t>(order[static_cast<std::size_t>(i)]));
  }
  return std::make_shared<Selection>(name, std::move(from), std::move(positions), count);
}

std::shared_ptr<HostDataset> zip(const std::string& name,
                                 std::vector<std::pair<std::string, Shared>> parts) {
  return std::make_shared<Zip>(name, std::move(parts));
}

}  // namespace microtome::host
