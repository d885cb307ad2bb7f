// Widths are counted in bytes: names of models are ASCII.
#include "cli/table.h"

#include <algorithm>

namespace carat::cli {
namespace {

constexpr size_t kGap = 4;

std::vector<size_t> column_widths(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  return widths;
}

std::string format_row(const Row& row, const std::vector<size_t>& widths, size_t last_gap) {
  std::string line;
  for (size_t i = 0; i < row.size(); ++i) {
    const size_t gap = i + 1 == row.size() ? last_gap : kGap;
    line += row[i] + std::string(widths[i] - row[i].size() + gap, ' ');
  }
  return line + "\n";
}

}  // namespace

std::string format_rows(const std::vector<Row>& rows, size_t indent) {
  const std::vector<size_t> widths = column_widths(rows);
  std::string text;
  for (const Row& row : rows) text += std::string(indent, ' ') + format_row(row, widths, kGap);
  return text;
}

std::string format_table(const Row& headings, const std::vector<Row>& rows) {
  std::vector<Row> all = rows;
  all.push_back(headings);
  const std::vector<size_t> widths = column_widths(all);
  std::string text = format_row(headings, widths, 1);
  for (const Row& row : rows) text += format_row(row, widths, kGap);
  return text;
}

}  // namespace carat::cli
