#pragma once

#include <string>
#include <vector>

#include "microtome/value.h"

namespace [[gnu::visibility("default")]] microtome {

/// A declarative picture that an artifact carries and the report draws. It names tensors of its
/// artifact, so it holds no data but what a table needs.
struct View {
  enum class Type { heat_map, image_grid, scatter, line, histogram, table, flow };

  Type type = Type::table;
  std::string title;
  std::string caption;               ///< what is to be seen, in a sentence
  std::vector<std::string> tensors;  ///< of the artifact, in the order that the type takes them
  Value options;                     ///< axes, units, column names; for a table its rows

  Value to_value() const;
};

std::string to_string(View::Type type);

/// A table view. Each row holds as many cells as there are columns.
View table_view(std::string title, std::vector<std::string> columns, Value::List rows,
                std::string caption = {});

}  // namespace microtome
