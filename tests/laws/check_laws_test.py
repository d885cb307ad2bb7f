#!/usr/bin/env python3
"""Shows that every law catches what it is there to catch, and passes what it should: a check that cannot fail is none."""

import unittest

import check_laws
from check_laws import Tree


def violations(law, files):
    """What one law says of a made-up tree: path -> text."""
    return list(law(Tree(files)))


class Output(unittest.TestCase):
    def test_only_one_place_writes(self):
        for line in ('fmt::print("x");', "std::cout << x;", "std::fputs(x, stderr);", "std::fwrite(a, 1, n, stdout);"):
            self.assertEqual(len(violations(check_laws.law_output, {"src/cli/list.cc": f"// x\n{line}\n"})), 1, line)
            self.assertEqual(violations(check_laws.law_output, {"src/cli/output.cc": f"// x\n{line}\n"}), [])
        self.assertEqual(violations(check_laws.law_output, {"src/cli/list.cc": '// x\nsay("{}", x);  // fmt::print( is not\n'}), [])


class Dependencies(unittest.TestCase):
    def check(self, path, include, caught):
        found = list(check_laws.law_dependencies(Tree({path: f'// x\n#include "{include}"\n'})))
        self.assertEqual(len(found), 1 if caught else 0, found)
        if caught:
            self.assertTrue(found[0].startswith(f"{path}:2: "), found)

    def test_downwards_is_allowed(self):
        self.check("src/formats/gguf.cc", "base/result.h", caught=False)
        self.check("src/engine/engine.cc", "backend/backend.h", caught=False)
        self.check("src/backend/cpu/pack.cc", "formats/quant.h", caught=False)
        self.check("src/cli/run.cc", "engine/engine.h", caught=False)
        self.check("src/server/ollama_api.cc", "chat/answer.h", caught=False)
        self.check("src/chat/answer.cc", "engine/engine.h", caught=False)
        self.check("src/engine/engine.cc", "sampling/sampler.h", caught=False)

    def test_upwards_is_caught(self):
        self.check("src/base/log.h", "formats/dtype.h", caught=True)
        self.check("src/formats/gguf.cc", "model/config.h", caught=True)
        self.check("src/model/config.cc", "backend/backend.h", caught=True)
        self.check("src/backend/registry.cc", "engine/engine.h", caught=True)
        self.check("src/chat/answer.cc", "cli/interrupt.h", caught=True)
        self.check("src/server/http.cc", "cli/report.h", caught=True)
        self.check("src/sampling/sampler.cc", "model/config.h", caught=True)

    def test_engine_sees_token_ids_only(self):
        self.check("src/engine/engine.cc", "tokenizer/tokenizer.h", caught=True)
        self.check("src/engine/engine.cc", "store/manifest.h", caught=True)

    def test_tokenizer_knows_no_model(self):
        self.check("src/tokenizer/bpe.cc", "formats/json_guard.h", caught=False)
        self.check("src/tokenizer/bpe.cc", "model/config.h", caught=True)

    def test_backend_has_one_door(self):
        self.check("src/engine/engine.cc", "backend/cpu/pack.h", caught=True)
        self.check("src/cli/bench.cc", "backend/cpu/bandwidth.h", caught=True)

    def test_backends_do_not_see_each_other(self):
        self.check("src/backend/cpu/pack.cc", "backend/cuda/device.h", caught=True)
        self.check("src/backend/cuda/load.cc", "backend/cpu/pack.h", caught=True)

    def test_relative_includes_are_caught(self):
        self.check("src/base/a.cc", "result.h", caught=True)

    def test_unknown_folder_is_caught(self):
        self.assertTrue(list(check_laws.law_dependencies(Tree({"src/utils/a.cc": "// x\n"}))))


class GuardedJson(unittest.TestCase):
    def check(self, code, caught):
        files = {"src/store/a.cc": f"#include \"base/json.h\"\n{code}\n"}
        self.assertEqual(len(violations(check_laws.law_guarded_json, files)), 1 if caught else 0)

    def test_parsing_without_the_guard_is_caught(self):
        self.check("auto x = nlohmann::json::parse(text);", caught=True)
        self.check("auto x = Json::sax_parse(text, &handler);", caught=True)
        self.check("auto x = nlohmann::json::accept(text);", caught=True)

    def test_guarded_parsing_passes(self):
        self.check("check_json_limits(text); auto x = nlohmann::json::parse(text);", caught=False)
        self.check("// json::parse(text)", caught=False)


class Opening(unittest.TestCase):
    def check(self, code, caught, path="src/store/a.cc"):
        self.assertEqual(len(violations(check_laws.law_opening, {path: code + "\n"})), 1 if caught else 0)

    def test_streams_are_caught(self):
        self.check("std::ifstream file(path);", caught=True)
        self.check("#include <fstream>", caught=True)
        self.check('FILE* file = fopen(path, "r");', caught=True)

    def test_others_pass(self):
        self.check("read_file(path, 100);", caught=False)
        self.check("zip_fopen_index(archive, 0, 0);", caught=False)
        self.check("std::ifstream statm(path);", caught=False, path="src/server/app.cc")


class PlacedHeaders(unittest.TestCase):
    def check(self, path, include, caught):
        found = list(check_laws.law_placed_headers(Tree({path: f"#include <{include}>\n"})))
        self.assertEqual(len(found), 1 if caught else 0, found)

    def test_json(self):
        self.check("src/engine/a.cc", "base/json.h", caught=True)
        self.check("src/backend/cpu/a.cc", "nlohmann/json_fwd.hpp", caught=True)
        self.check("src/formats/a.cc", "nlohmann/json.hpp", caught=True)
        self.check("src/formats/a.cc", "base/json.h", caught=False)

    def test_intrinsics(self):
        self.check("src/engine/a.cc", "immintrin.h", caught=True)
        self.check("src/formats/a.cc", "arm_neon.h", caught=True)
        self.check("src/backend/cpu/a.inl", "immintrin.h", caught=False)

    def test_cuda(self):
        self.check("src/backend/cpu/a.cc", "cuda_runtime.h", caught=True)
        self.check("src/backend/cuda/a.cu", "cuda_runtime.h", caught=False)

    def test_network_and_printing(self):
        self.check("src/backend/a.cc", "boost/asio.hpp", caught=True)
        self.check("src/model/a.cc", "iostream", caught=True)
        self.check("src/cli/a.cc", "iostream", caught=False)


class Calls(unittest.TestCase):
    def check(self, path, line, caught):
        self.assertEqual(len(list(check_laws.law_calls(Tree({path: line + "\n"})))), 1 if caught else 0, line)

    def test_caught(self):
        for line in ("  std::exit(1);", "  abort();", '  printf("x");', '  std::printf("x");', "  std::cout << x;",
                     '  const char* home = getenv("HOME");', '  if (std::getenv("DEBUG")) {'):
            self.check("src/engine/a.cc", line, caught=True)

    def test_passed(self):
        for line in ("  // exit(1) would be wrong here", "  snprintf(buffer, 4, x);", "  request.abort();", "  on_exit();", "  queue->exit();"):
            self.check("src/engine/a.cc", line, caught=False)
        self.check("src/cli/run.cc", "  std::cout << x;", caught=False)


class DeviceCode(unittest.TestCase):
    def check(self, path, text, caught):
        self.assertEqual(len(list(check_laws.law_device_code(Tree({path: text})))), 1 if caught else 0)

    def test_cu_if_and_only_if_device_code(self):
        self.check("src/backend/cuda/load.cu", "void load();", caught=True)
        self.check("src/backend/cuda/decode.cc", "__global__ void decode();", caught=True)
        self.check("src/backend/cuda/tile.cuh", "__device__ int tile();", caught=True)
        self.check("src/backend/cuda/decode.cu", "__global__ void decode();", caught=False)
        self.check("src/backend/cuda/device/tile.cuh", "__device__ int tile();", caught=False)


class Files(unittest.TestCase):
    def test_opening_comment(self):
        law = check_laws.law_opening_comment
        self.assertTrue(violations(law, {"src/a.cc": "#include <vector>\n"}))
        self.assertTrue(violations(law, {"a.py": "#!/usr/bin/env python3\nimport os\n"}))
        self.assertTrue(violations(law, {"src/x/a.cc": '#include "x/b.h"\n'}))
        self.assertTrue(violations(law, {"src/x/a.h": '#include "x/b.h"\n'}))
        self.assertFalse(violations(law, {"src/a.cc": "// What it is.\n#include <vector>\n"}))
        self.assertFalse(violations(law, {"src/x/a.cc": '#include "x/a.h"\n'}))
        self.assertFalse(violations(law, {"tests/x/a_test.cc": '#include "x/a.h"\n'}))
        self.assertFalse(violations(law, {"a.py": '#!/usr/bin/env python3\n"""What it is."""\n'}))

    def test_size(self):
        law = check_laws.law_size
        self.assertTrue(violations(law, {"src/a.cc": "x\n" * (check_laws.MAX_LINES + 1)}))
        self.assertFalse(violations(law, {"src/a.cc": "x\n" * check_laws.MAX_LINES}))

    def test_stale_exception(self):
        check_laws.LONGER["src/a.cc"] = "a test"
        try:
            self.assertTrue(violations(check_laws.law_size, {"src/a.cc": "x\n"}))
        finally:
            del check_laws.LONGER["src/a.cc"]

    def test_listed(self):
        law = check_laws.law_listed
        cmake = "carat_library(carat_base SOURCES b.cc cpu/c.cc\n  d.cc)"
        tree = {"src/x/CMakeLists.txt": cmake, "src/x/b.cc": "", "src/x/cpu/c.cc": "", "src/x/d.cc": ""}
        self.assertEqual(list(law(Tree(tree))), [])
        for missing in ("src/x/a.cc", "src/x/c.cc", "src/x/cpu/b.cc", "src/y/b.cc", "src/x/a.inl"):
            self.assertEqual(len(list(law(Tree({**tree, missing: ""})))), 1, missing)
        self.assertEqual(list(law(Tree({**tree, "src/x/a.inl": "", "src/x/b.cc": '#include "x/a.inl"\n'}))), [])

    def test_machine_paths(self):
        law = check_laws.law_machine_paths
        for path in ("/" + "work/tmp/x", "(/" + "root/x)", "../" + "shared/x"):
            self.assertTrue(violations(law, {"src/a.cc": f"// see {path}\n"}), path)
        for path in ("docs/" + "work/x", "frame" + "work/", "https://a.b/network/x"):
            self.assertFalse(violations(law, {"src/a.cc": f"// see {path}\n"}), path)


class WeakSymbols(unittest.TestCase):
    def check(self, line, caught):
        self.assertEqual(len(list(check_laws.weak_symbols("isa_avx2.cc.o", line))), 1 if caught else 0, line)

    def test_weak(self):
        self.check("0000000000000000 W std::vector<int>::push_back(int const&)", caught=True)
        self.check("0000000000000000 W carat::half_to_float(unsigned short)", caught=True)
        self.check("0000000000000000 V vtable for carat::Task", caught=True)
        self.check("0000000000000000 u carat::table", caught=True)
        self.check("0000000000000000 W carat::cpu::isa_avx512::dot(float const*)", caught=True)

    def test_strong_or_own(self):
        self.check("0000000000000000 W carat::cpu::isa_avx2::dot(float const*)", caught=False)
        self.check("0000000000000000 T carat::cpu::avx2_kernels()", caught=False)
        self.check("0000000000000000 t carat::half_to_float(unsigned short)", caught=False)
        self.check("0000000000000000 V DW.ref.__gxx_personality_v0", caught=False)


class Checkout(unittest.TestCase):
    def test_reads_this_checkout(self):
        root = check_laws.pathlib.Path(check_laws.__file__).resolve().parents[2]
        tree = Tree.of_checkout(root)
        self.assertIn("tests/laws/check_laws_test.py", tree.files)
        self.assertTrue(tree.sources(".h"))


if __name__ == "__main__":
    unittest.main()
