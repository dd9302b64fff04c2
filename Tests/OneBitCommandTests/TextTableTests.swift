import Testing

@testable import onebit

@Suite("Text tables")
struct TextTableTests {
    private var table: TextTable {
        var table = TextTable([.text("model"), .figure("bytes"), .text("story")])
        table.append(["teacher", "4.1 MB", "Once upon\na time"])
        table.append(["student", "700.2 kB", "a|b"])
        table.append(["start"])
        return table
    }

    @Test("Columns align, words to the left and figures to the right; lines don't end in spaces")
    func aligned() {
        #expect(
            table.text == """
                model       bytes  story
                -------  --------  ----------------
                teacher    4.1 MB  Once upon a time
                student  700.2 kB  a|b
                start

                """
        )
    }

    @Test("Markdown escapes the bar and says how columns align")
    func markdown() {
        #expect(
            table.markdown == """
                | model   |    bytes | story            |
                | ------- | -------: | ---------------- |
                | teacher |   4.1 MB | Once upon a time |
                | student | 700.2 kB | a\\|b             |
                | start   |          |                  |

                """
        )
    }

    @Test("A table without rows is its titles; a Markdown column has room for its rule")
    func empty() {
        #expect(TextTable([.text("a"), .figure("b")]).text == "a  b\n-  -\n")
        #expect(TextTable([.text("a"), .figure("b")]).markdown == "| a   |   b |\n| --- | --: |\n")
    }
}
