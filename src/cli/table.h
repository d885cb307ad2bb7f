// Columns of text, padded as Ollama pads them (byte for byte, spaces at the ends of lines included).
#pragma once

#include <string>
#include <vector>

namespace carat::cli {

using Row = std::vector<std::string>;

// Every cell padded to its column's width and four spaces more; `indent` spaces before each row.
std::string format_rows(const std::vector<Row>& rows, size_t indent = 0);

// The same under a line of headings.
std::string format_table(const Row& headings, const std::vector<Row>& rows);

}  // namespace carat::cli
