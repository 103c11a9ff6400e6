"""What a stranger may make a party allocate, and what errors may hold."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

HERE = "tests/runtime/test_bounds.py::"
KEPT = "tests/fuzz/test_corpus.py::test_every_kept_input_is_taken_or_refused_in_words"

MUTANTS = (
    Mutant(
        name="no_limit_of_memory",
        breaks="a file of a kilobyte takes all memory",
        file="runtime/program/bounds.py",
        old="    if nbytes > limit:",
        new="    if nbytes < 0:",
        tests=(f"{HERE}test_a_program_of_a_kilobyte_cannot_take_gigabytes",),
    ),
    Mutant(
        name="a_program_is_not_weighed",
        breaks="a Program takes gigabytes of a client",
        file="runtime/party/executor.py",
        old="        check_run_memory(self.program)\n        self._checked_specs(1)\n",
        new="        self._checked_specs(1)\n",
        tests=(f"{HERE}test_a_program_of_a_kilobyte_cannot_take_gigabytes",),
    ),
    Mutant(
        name="a_program_is_shown_unweighed",
        breaks="a Program takes gigabytes of whoever looks at it",
        file="runtime/cli/programs.py",
        old="    check_run_memory(program)\n",
        new="",
        tests=(f"{HERE}test_a_command_refuses_a_program_of_gigabytes_before_anything_else",),
    ),
    Mutant(
        name="correlations_weigh_nothing",
        breaks="what a step draws and sends is not counted",
        file="runtime/cost/memory.py",
        old="    return int((KEPT * cost.total + DRAWN * drawn) / 2)",
        new="    return 0",
        tests=(f"{HERE}test_what_is_exchanged_counts_too",),
    ),
    Mutant(
        name="live_values_weigh_nothing",
        breaks="only the step at hand is counted",
        file="runtime/cost/memory.py",
        old="        yield live + WORKING * (made + read)",
        new="        yield (made + read) // WORKING",
        tests=(f"{HERE}test_a_run_stays_below_what_was_predicted",),
    ),
    Mutant(
        name="tiles_without_end",
        breaks="a plan of millions of tiles is made",
        file="runtime/program/program.py",
        old="        if tiles > MAX_TILES:",
        new="        if tiles < 0:",
        tests=(f"{HERE}test_a_plan_of_millions_of_tiles_is_refused_before_it_is_made",),
    ),
    Mutant(
        name="a_picture_is_not_weighed",
        breaks="a PNG of a hundred bytes takes gigabytes",
        file="runtime/intake/pictures.py",
        old="        check_picture(picture.height, picture.width)\n",
        new="",
        tests=(f"{HERE}test_a_png_of_a_hundred_bytes_cannot_take_gigabytes",),
    ),
    Mutant(
        name="a_radiograph_is_not_weighed",
        breaks="a DICOM header states any size",
        file="runtime/intake/dicom/pixels.py",
        old="    check_radiograph(rows, columns)\n",
        new="",
        tests=(f"{HERE}test_a_dicom_header_cannot_take_gigabytes",),
    ),
    Mutant(
        name="what_inflates_is_not_counted",
        breaks="a deflated data set takes all memory",
        file="runtime/intake/dicom/reading.py",
        old="        size += len(inflater.decompress(data, PART))",
        new="        inflater.decompress(data, PART)",
        tests=("tests/runtime/test_dicom.py::test_what_inflates_without_end_is_refused",),
    ),
    Mutant(
        name="a_constant_is_not_weighed",
        breaks="an ONNX file of a kilobyte holds a constant of gigabytes",
        file="compiler/onnx_import/folding.py",
        old="    check_constant(call.proto, call.opset, feeds, call.builder.held)\n",
        new="",
        tests=(f"{HERE}test_a_model_of_a_kilobyte_cannot_take_gigabytes",),
    ),
    Mutant(
        name="a_feature_map_is_not_weighed",
        breaks="a padding of an ONNX file takes gigabytes",
        file="compiler/onnx_import/load.py",
        old="    check_graph(graph, batch)\n",
        new="",
        tests=(f"{HERE}test_a_model_of_a_kilobyte_cannot_take_gigabytes",),
    ),
    Mutant(
        name="constants_are_weighed_one_by_one",
        breaks="many constants of an ONNX file take gigabytes together",
        file="compiler/onnx_import/folding.py",
        old="    call.builder.held += sum(array.nbytes for array in made)\n",
        new="",
        tests=(f"{HERE}test_constants_are_weighed_together",),
    ),
    Mutant(
        name="a_value_is_weighed_late",
        breaks="an importer makes a frame of gigabytes for a value that is refused later",
        file="compiler/onnx_import/call.py",
        old="        self.weigh(self.builder.shapes[made])\n",
        new="",
        tests=(f"{HERE}test_a_model_of_a_kilobyte_cannot_take_gigabytes",),
    ),
    Mutant(
        name="a_table_is_not_weighed",
        breaks="an importer makes a matrix of gigabytes",
        file="compiler/onnx_import/call.py",
        old="        check_memory(what, self.builder.held, BadModel)\n",
        new="",
        tests=(f"{HERE}test_a_model_of_a_kilobyte_cannot_take_gigabytes",),
    ),
    Mutant(
        name="copies_without_end",
        breaks="a Tile of 2^63 copies ends the import by a traceback",
        file="compiler/onnx_import/call.py",
        old="        if count > MAX_STEPS:\n",
        new="        if False:\n",
        tests=(f"{KEPT}[onnx]",),
    ),
    Mutant(
        name="trips_without_end",
        breaks="a constant Loop of an ONNX file goes on for ever",
        file="compiler/onnx_import/folding.py",
        old="    _check_trips(call)\n",
        new="",
        tests=("tests/compiler/test_folding.py::test_a_loop_that_reads_constants_alone",),
    ),
    Mutant(
        name="bytes_for_text",
        breaks="a name that is no UTF-8 ends the import by a traceback",
        file="compiler/onnx_import/load.py",
        old="    check_texts(model, name)\n",
        new="",
        tests=(f"{KEPT}[onnx]",),
    ),
    Mutant(
        name="numbers_are_written_down",
        breaks="ONNX's inference writes down a Range of billions",
        file="compiler/onnx_import/load.py",
        old="infer_shapes(thin)",
        new="infer_shapes(thin, data_prop=True)",
        tests=(f"{HERE}test_a_model_of_a_kilobyte_cannot_take_gigabytes",),
    ),
    Mutant(
        name="errors_move_the_cursor",
        breaks="a message quotes escape sequences of a file's",
        file="protocols/errors.py",
        old='c if c.isprintable() or c == "\\n" else _escaped(c)',
        new="c",
        tests=(f"{KEPT}[journal]",),
    ),
    Mutant(
        name="more_bytes_than_due_are_our_bug",
        breaks="a peer ends a server's session by a traceback",
        file="runtime/party/transport.py",
        old=(
            "            raise NetworkFailure(\n"
            '                f"{self.peer} is out of step: "\n'
            '                f"{self._left_in_frame}'
        ),
        new=(
            "            raise ContractViolation(\n"
            '                f"{self.peer} is out of step: "\n'
            '                f"{self._left_in_frame}'
        ),
        tests=(f"{KEPT}[frames]",),
    ),
)
