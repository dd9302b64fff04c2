import Foundation
import JSON
import Testing

@testable import OneBitServer

@Suite("Completions over HTTP")
struct CompletionTests {
    private func text(_ answer: TestServer.Answer, _ index: Int = 0) throws -> String {
        try answer.json["choices"].elements()[index]["text"].string()
    }

    private func chatText(_ answer: TestServer.Answer) throws -> String {
        try answer.json["choices"].elements()[0]["message"]["content"].string()
    }

    @Test(
        "The same seed gives the same bytes: alone, among sixteen, with a warm cache, streamed, at any number of threads"
    )
    func sameSeed() async throws {
        let prompts = (0..<16).map { "The quick brown fox number \($0) jumps over the lazy dog and then" }
        func body(_ index: Int, more: String = "") -> String {
            #"{"prompt": "\#(prompts[index])", "seed": \#(index), "max_tokens": 24, "temperature": 1\#(more)}"#
        }
        var alone: [String] = []
        try await TestServer.run(kept: 0) { server in
            for index in 0..<16 { alone.append(try text(try await server.post("/v1/completions", body(index)))) }
        }
        #expect(Set(alone).count == 16)
        for threads in [1, 2] {
            try await TestServer.run(sequences: 6, threads: threads, kept: 8) { server in
                for round in 0..<2 {
                    let together = try await withThrowingTaskGroup(of: (Int, String).self) { group in
                        for index in 0..<16 {
                            group.addTask {
                                guard round == 1, index % 2 == 0 else {
                                    return (index, try text(try await server.post("/v1/completions", body(index))))
                                }
                                let stream = try await server.post(
                                    "/v1/completions", body(index, more: #", "stream": true"#))
                                let pieces = try stream.events.map { try $0["choices"].elements()[0]["text"].string() }
                                return (index, pieces.joined())
                            }
                        }
                        return try await group.reduce(into: [Int: String]()) { $0[$1.0] = $1.1 }
                    }
                    #expect((0..<16).map { together[$0] } == alone)
                }
                #expect(server.served.container.engine.statistics.cachedTokens > 0)
            }
        }
    }

    @Test("A prompt is a text, texts, tokens or lists of tokens; each has the text that it has alone")
    func promptForms() async throws {
        try await TestServer.run { server in
            let ids = TestServer.tokenizer.encode("Once upon", addSpecialTokens: false)
            let list = "[\(ids.map(String.init).joined(separator: ", "))]"
            func post(_ prompt: String) async throws -> TestServer.Answer {
                try await server.post("/v1/completions", #"{"prompt": \#(prompt), "seed": 5, "max_tokens": 9}"#)
            }
            let first = try text(try await post(#""Once upon""#))
            #expect(try text(try await post(list)) == first)
            for prompt in [#"["Once upon", "a"]"#, "[\(list), [7, 8]]", #"["Once upon", [9]]"#] {
                let answer = try await post(prompt)
                #expect(try answer.json["choices"].elements().count == 2)
                #expect(try text(answer) == first)
            }
        }
    }

    @Test("n gives choices with seeds of their own, and counts the prompt once")
    func choices() async throws {
        try await TestServer.run { server in
            let body = #"{"prompt": "Once upon a time", "seed": 40, "max_tokens": 12, "n": 3}"#
            let answer = try await server.post("/v1/completions", body)
            let texts = try (0..<3).map { try text(answer, $0) }
            #expect(Set(texts).count == 3)
            let second = body.replacing("40", with: "41").replacing("\"n\": 3", with: "\"n\": 1")
            #expect(try text(try await server.post("/v1/completions", second)) == texts[1])
            let usage = try answer.json["usage"]
            #expect(try usage["prompt_tokens"].integer() == 16)
            #expect(try usage["completion_tokens"].integer() == 36)
        }
    }

    @Test("Echo with log probabilities: an entry for each token of the prompt and of the text, the first without any")
    func echo() async throws {
        try await TestServer.run { server in
            let answer = try await server.post(
                "/v1/completions",
                #"{"prompt": "Once upon a time", "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": true}"#)
            let choice = try answer.json["choices"].elements()[0]
            let probabilities = choice["logprobs"]
            let tokens = try probabilities["tokens"].strings()
            let values = try probabilities["token_logprobs"].elements()
            let likeliest = try probabilities["top_logprobs"].elements()
            #expect(tokens.count == 17 && values.count == 17 && likeliest.count == 17)
            #expect(tokens.joined() == (try choice["text"].string()))
            #expect(values[0].isNull && likeliest[0].isNull)
            for (value, candidates) in zip(values, likeliest).dropFirst() {
                let largest = try candidates.members().map { try $0.node.number() }.max()!
                #expect(try value.number() <= largest)
            }
            // The likeliest token was taken, and both places say the same of it to the bit.
            #expect(try values[16].number() == likeliest[16].members().map { try $0.node.number() }.max())
            let offsets = try probabilities["text_offset"].integers()
            #expect(offsets == Array(0..<17))
            let scored = try await server.post(
                "/v1/completions", #"{"prompt": "Once upon a time", "max_tokens": 0, "logprobs": 0, "echo": true}"#)
            let alone = try scored.json["choices"].elements()[0]["logprobs"]["token_logprobs"].elements()
            #expect(alone.map(\.value) == values.dropLast().map(\.value))
            #expect(try text(scored) == "Once upon a time")
        }
    }

    @Test("A stream is one id, one object a chunk, a reason at the end, counts where they are asked for, and the mark")
    func stream() async throws {
        try await TestServer.run { server in
            let body = #"{"messages": [{"role": "user", "content": "Hi"}], "seed": 3, "max_tokens": 30 MORE}"#
            let whole = try await server.post("/v1/chat/completions", body.replacing(" MORE", with: ""))
            let stream = try await server.post(
                "/v1/chat/completions",
                body.replacing(" MORE", with: #", "stream": true, "stream_options": {"include_usage": true}"#))
            #expect(stream.headers.first(name: "Content-Type") == "text/event-stream; charset=utf-8")
            #expect(stream.text.hasSuffix("data: [DONE]\n\n"))
            let events = try stream.events
            #expect(Set(try events.map { try $0["id"].string() }).count == 1)
            let first = try events[0]["choices"].elements()[0]["delta"]
            #expect(try first["role"].string() == "assistant")
            #expect(!first["content"].isMissing && first["content"].isNull)
            let deltas = try events.dropLast().compactMap {
                try $0["choices"].elements()[0]["delta"]["content"].nonNull?.string()
            }
            #expect(try deltas.joined() == chatText(whole))
            let reasons = try events.dropLast().map { try $0["choices"].elements()[0]["finish_reason"] }
            #expect(reasons.dropLast().allSatisfy { $0.isNull })
            #expect(
                try reasons.last?.string() == (try whole.json["choices"].elements()[0]["finish_reason"].string()))
            let last = try #require(events.last)
            #expect(try last["choices"].elements().isEmpty)
            #expect(
                last["usage"].value
                    == (try whole.json["usage"].value).map { usage in
                        // The second time the prompt was known.
                        guard case .object(var object) = usage else { return usage }
                        object["prompt_tokens_details"] = last["usage"]["prompt_tokens_details"].value
                        return .object(object)
                    })
            let plain = try await server.post(
                "/v1/chat/completions", body.replacing(" MORE", with: #", "stream": true"#))
            #expect(try plain.events.allSatisfy { $0["usage"].isMissing })
        }
    }

    @Test("Log probabilities of a chat spell its answer, and are the same streamed")
    func chatLogProbabilities() async throws {
        try await TestServer.run { server in
            let body = #"""
                {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "seed": 3, "logprobs": true,
                 "top_logprobs": 3, "max_completion_tokens": 20, "temperature": 1 MORE}
                """#
            let whole = try await server.post("/v1/chat/completions", body.replacing(" MORE", with: ""))
            let content = try whole.json["choices"].elements()[0]["logprobs"]["content"].elements()
            #expect(try content.map { try $0["token"].string() }.joined() == chatText(whole))
            #expect(try content.allSatisfy { try $0["top_logprobs"].elements().count == 3 })
            let stream = try await server.post(
                "/v1/chat/completions", body.replacing(" MORE", with: #", "stream": true"#))
            let streamed = try stream.events.flatMap {
                try $0["choices"].elements()[0]["logprobs"].nonNull?["content"].elements() ?? []
            }
            #expect(streamed.map(\.value) == content.map(\.value))
            for choice in try stream.events.flatMap({ try $0["choices"].elements() }) {
                guard let entries = try choice["logprobs"].nonNull?["content"].elements() else { continue }
                let tokens = try entries.map { try $0["token"].string() }
                #expect(try tokens.joined() == choice["delta"]["content"].string())
            }
        }
    }

    @Test("The token that ends an answer is told of in neither form, also where text was held back to the end")
    func endToken() async throws {
        try await TestServer.run { server in
            let x = TestServer.tokenizer.id(of: "x")!
            // The stop string holds back all of the text; the bias of x lasts until the penalties make it the less likely.
            let body = #"""
                {"messages": [{"role": "user", "content": "Hi"}], "logprobs": true, "max_tokens": 8, "temperature": 0,
                 "logit_bias": {"\#(x)": 12, "2": 10}, "presence_penalty": 2, "frequency_penalty": 2, "stop": "xxxxxxxxx" MORE}
                """#
            let whole = try await server.post("/v1/chat/completions", body.replacing(" MORE", with: ""))
            let choice = try whole.json["choices"].elements()[0]
            let text = try choice["message"]["content"].string()
            let reason = try choice["finish_reason"].string()
            #expect(reason == "stop" && text.allSatisfy { $0 == "x" } && !text.isEmpty)
            #expect(try choice["logprobs"]["content"].elements().count == text.count)
            #expect(try whole.json["usage"]["completion_tokens"].integer() == text.count + 1)
            for _ in 0..<5 {
                let stream = try await server.post(
                    "/v1/chat/completions", body.replacing(" MORE", with: #", "stream": true"#))
                let entries = try stream.events.flatMap {
                    try $0["choices"].elements()[0]["logprobs"].nonNull?["content"].elements() ?? []
                }
                #expect(entries.count == text.count)
            }
        }
    }

    @Test("Cached tokens are those that were there before: of each prompt once, and none where the cache is not wanted")
    func cachedTokens() async throws {
        try await TestServer.run { server in
            let prompts = ["a", "b"].map { String(repeating: $0, count: 60) }
            func cached(_ more: String) async throws -> Int {
                let answer = try await server.post(
                    "/v1/completions",
                    #"{"prompt": ["\#(prompts[0])", "\#(prompts[1])"], "n": 2, "max_tokens": 1\#(more)}"#)
                return try answer.json["usage"]["prompt_tokens_details"]["cached_tokens"].integer()
            }
            let unwanted = try await cached(#", "cache_prompt": false"#)
            let (first, second) = (try await cached(""), try await cached(""))
            #expect(unwanted == 0 && first == 0 && (110...122).contains(second), "\(unwanted) \(first) \(second)")
        }
    }

    @Test("Biases ban and force tokens; stop strings end texts and are no part of them")
    func biasAndStop() async throws {
        try await TestServer.run { server in
            let x = TestServer.tokenizer.id(of: "x")!
            let forced = try await server.post(
                "/v1/completions", #"{"prompt": "a", "max_tokens": 5, "logit_bias": {"\#(x)": 100}}"#)
            #expect(try text(forced) == "xxxxx")
            let stopped = try await server.post(
                "/v1/completions",
                #"{"prompt": "a", "max_tokens": 5, "logit_bias": {"\#(x)": 100}, "stop": ["", "xxx"]}"#)
            #expect(try text(stopped) == "")
            #expect(try stopped.json["choices"].elements()[0]["finish_reason"].string() == "stop")
            #expect(try stopped.json["usage"]["completion_tokens"].integer() == 3)
        }
    }

    @Test("What is wrong with a request is said with its status and its field, and before a stream begins")
    func refusals() async throws {
        try await TestServer.run { server in
            let chat = #""messages": [{"role": "user", "content": "Hi"}]"#
            let cases: [(path: String, body: String, status: Int, parameter: String?)] = [
                ("completions", "{", 400, nil), ("completions", "[]", 400, nil), ("completions", "{}", 400, "prompt"),
                ("completions", #"{"prompt": []}"#, 400, "prompt"),
                ("completions", #"{"prompt": [[]]}"#, 400, "prompt"),
                ("completions", #"{"prompt": [1, "a"]}"#, 400, "prompt[1]"),
                ("completions", #"{"prompt": [100000]}"#, 400, "prompt"),
                ("completions", #"{"prompt": [-1]}"#, 400, "prompt"),
                ("completions", #"{"prompt": "a", "n": 17}"#, 400, "n"),
                ("completions", #"{"prompt": "a", "n": 0}"#, 400, "n"),
                ("completions", #"{"prompt": "a", "n": "2"}"#, 400, "n"),
                ("completions", #"{"prompt": "a", "temperature": -1, "stream": true}"#, 400, "temperature"),
                ("completions", #"{"prompt": "a", "temperature": 1e999}"#, 400, nil),
                ("completions", #"{"prompt": "a", "temperature": NaN}"#, 400, nil),
                ("completions", #"{"prompt": "a", "top_p": 0}"#, 400, "top_p"),
                ("completions", #"{"prompt": "a", "max_tokens": -1}"#, 400, "max_tokens"),
                ("completions", #"{"prompt": "a", "max_tokens": 0}"#, 400, "max_tokens"),
                ("completions", #"{"prompt": "a", "max_tokens": 1.5}"#, 400, "max_tokens"),
                ("completions", #"{"prompt": "a", "logprobs": 21}"#, 400, "logprobs"),
                ("completions", #"{"prompt": "a", "logit_bias": {"abc": 1}}"#, 400, "logit_bias"),
                ("completions", #"{"prompt": "a", "logit_bias": {"3": 1000}}"#, 400, "logit_bias.3"),
                ("completions", #"{"prompt": "a", "suffix": "b"}"#, 400, "suffix"),
                ("completions", #"{"prompt": "a", "seed": 1e30}"#, 400, "seed"),
                // One more and one less than 64 bits hold: as a double it would be one that they do.
                ("completions", #"{"prompt": "a", "seed": 9223372036854775808}"#, 400, "seed"),
                ("completions", #"{"prompt": "a", "seed": -9223372036854775809}"#, 400, "seed"),
                ("completions", #"{"prompt": "a", "stream_options": {"include_usage": true}}"#, 400, "stream_options"),
                // Who asks for a form would have to read what has none.
                (
                    "completions", #"{"prompt": "a", "response_format": {"type": "json_object"}}"#, 400,
                    "response_format"
                ),
                ("completions", #"{"prompt": "a", "grammar": "root ::= \"a\""}"#, 400, "grammar"),
                ("completions", #"{"prompt": "a", "structured_outputs": {"regex": "a"}}"#, 400, "structured_outputs"),
                ("chat/completions", "{\(chat), \"guided_json\": {}}", 400, "guided_json"),
                (
                    "chat/completions",
                    "{\(chat), \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a\", \"parameters\": []}}]}",
                    400,
                    "tools[0].function.parameters"
                ),
                (
                    "chat/completions",
                    "{\(chat), \"add_generation_prompt\": true, \"continue_final_message\": true}", 400,
                    "continue_final_message"
                ),
                ("completions", #"{"prompt": "a", "stop": [1]}"#, 400, "stop[0]"),
                ("completions", #"{"prompt": "\#(String(repeating: "a", count: 401))"}"#, 400, "prompt"),
                ("completions", String(repeating: "[", count: 100_000), 400, nil),
                ("chat/completions", "{}", 400, "messages"),
                ("chat/completions", #"{"messages": []}"#, 400, "messages"),
                ("chat/completions", #"{"messages": [{"content": "a"}]}"#, 400, "messages[0].role"),
                ("chat/completions", #"{"messages": [{"role": "king", "content": "a"}]}"#, 400, "messages[0].role"),
                ("chat/completions", #"{"messages": [{"role": "user"}]}"#, 400, "messages[0].content"),
                (
                    "chat/completions", #"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#, 400,
                    "messages[0].content[0].type"
                ),
                ("chat/completions", "{\(chat), \"top_logprobs\": 3}", 400, "top_logprobs"),
                (
                    "chat/completions", "{\(chat), \"response_format\": {\"type\": \"json_object\"}}", 400,
                    "response_format"
                ),
                ("chat/completions", "{\(chat), \"tool_choice\": \"required\"}", 400, "tool_choice"),
                ("chat/completions", "{\(chat), \"chat_template_kwargs\": {\"messages\": 1}}", 400, nil),
            ]
            for (path, body, status, parameter) in cases {
                let answer = try await server.post("/v1/\(path)", body)
                #expect(answer.status == status, "\(body.prefix(100)): \(answer.text)")
                let error = try answer.json["error"]
                #expect(try !error["message"].string().isEmpty)
                #expect(try error["type"].string().contains("error"))
                #expect(try error["param"].nonNull?.string() == parameter, "\(body.prefix(100)): \(answer.text)")
            }
            let long = try await server.post(
                "/v1/completions", #"{"prompt": "\#(String(repeating: "a", count: 401))", "stream": true}"#)
            let error = try long.json["error"]
            #expect(try error["code"].string() == "context_length_exceeded")
            #expect(try (error["n_prompt_tokens"].integer(), error["n_ctx"].integer()) == (401, 400))
            let biases = try await server.post(
                "/v1/completions", #"{"prompt": "a", "logit_bias": {"300": 1, "abc": 1, "5": 1}}"#)
            let message = try biases.json["error"]["message"].string()
            #expect(message.contains("300, abc;") && message.contains("below 98"))
            // And still it serves.
            #expect(
                try await server.post("/v1/completions", #"{"prompt": "a", "max_tokens": 8.0, "temperature": null}"#)
                    .status == 200)
        }
    }

    @Test("An echo is the prompt as it was written, and of tokens what each of them is called")
    func echoedText() async throws {
        try await TestServer.run { server in
            // The tokenizer has no token for the last character.
            let written = try await server.post(
                "/v1/completions", #"{"prompt": "Once é", "max_tokens": 0, "echo": true}"#)
            #expect(try text(written) == "Once é")
            let tokens = try await server.post(
                "/v1/completions", #"{"prompt": [0, 40, 1], "max_tokens": 0, "echo": true}"#)
            #expect(try text(tokens) == "<|im_start|>E<|im_end|>")
        }
    }

    @Test("Texts end at their length where the end of sequence is ignored")
    func ignoreEnd() async throws {
        try await TestServer.run { server in
            for (path, start) in [
                ("completions", #""prompt": "a""#),
                ("chat/completions", #""messages": [{"role": "user", "content": "a"}]"#),
            ] {
                // 1 ends an answer in ChatML, 2 a text of this model.
                let body = "{\(start), \"max_tokens\": 7, \"logit_bias\": {\"1\": 100, \"2\": 100} MORE}"
                for (more, reason) in [("", "stop"), (#", "ignore_eos": true"#, "length")] {
                    guard path != "completions" || reason == "length" else { continue }
                    let answer = try await server.post("/v1/\(path)", body.replacing(" MORE", with: more))
                    let choice = try answer.json["choices"].elements()[0]
                    #expect(try choice["finish_reason"].string() == reason, "\(answer.text)")
                }
            }
        }
    }

    @Test(
        "A stream of a text ends with a chunk that has the reason alone, and tells of tokens what the whole answer tells"
    )
    func heldBack() async throws {
        try await TestServer.run { server in
            // Texts are held back while a stop string may begin in them.
            let body = #"""
                {"prompt": "Once", "seed": 11, "max_tokens": 30, "logprobs": 2, "echo": true, "n": 2,
                 "stop": ["aaaaaaaaaaaaaaaaaaaaaaaa"], "logit_bias": {"67": 4} MORE}
                """#
            let whole = try await server.post("/v1/completions", body.replacing(" MORE", with: ""))
            let stream = try await server.post("/v1/completions", body.replacing(" MORE", with: #", "stream": true"#))
            for index in 0..<2 {
                let choice = try whole.json["choices"].elements()[index]
                let chunks = try stream.events.map { try $0["choices"].elements()[0] }.filter {
                    try $0["index"].integer() == index
                }
                #expect(try chunks.map { try $0["text"].string() }.joined() == text(whole, index))
                let last = try #require(chunks.last)
                #expect(try last["text"].string() == "" && last["finish_reason"].value == choice["finish_reason"].value)
                #expect(chunks.dropLast().allSatisfy { $0["finish_reason"].isNull })
                for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                    let streamed = try chunks.flatMap { try $0["logprobs"][key].elements().map(\.value) }
                    #expect(try streamed == choice["logprobs"][key].elements().map(\.value), "\(key)")
                }
            }
        }
    }

    @Test("An answer goes on with the last message where continue_final_message asks for it, white space and all")
    func continuedMessage() async throws {
        try await TestServer.run { server in
            for start in ["Sure", "Sure, ", "Hi"] {
                let body = #"""
                    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\#(start)"}],
                     "continue_final_message": true, "seed": 3, "max_tokens": 9}
                    """#
                let tokens = try await server.post("/tokenize", body).json["tokens"].integers()
                let written = try await server.post("/detokenize", #"{"tokens": \#(tokens)}"#).json["prompt"].string()
                #expect(written == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n\(start)")
                let chat = try await server.post("/v1/chat/completions", body)
                let plain = try await server.post(
                    "/v1/completions", #"{"prompt": \#(tokens), "seed": 3, "max_tokens": 9}"#)
                #expect(try chatText(chat) == text(plain))
            }
        }
    }

    @Test("A server whose texts are shorter than the model's context says so everywhere")
    func shorterContext() async throws {
        try await TestServer.run(context: 100) { server in
            #expect(try await server.get("/v1/models").json["data"].elements()[0]["max_model_len"].integer() == 100)
            #expect(try await server.get("/tokenizer_info").json["model_max_length"].integer() == 100)
            let long = String(repeating: "a", count: 450)
            for (path, body, parameter) in [
                ("completions", #"{"prompt": "\#(long)"}"#, "prompt"),
                ("chat/completions", #"{"messages": [{"role": "user", "content": "\#(long)"}]}"#, "messages"),
            ] {
                let error = try await server.post("/v1/\(path)", body).json["error"]
                #expect(try (error["n_ctx"].integer(), error["param"].string()) == (100, parameter))
            }
            let full = try await server.post(
                "/v1/completions", #"{"prompt": "a", "max_tokens": 300, "ignore_eos": true}"#)
            #expect(try full.json["choices"].elements()[0]["finish_reason"].string() == "length")
        }
    }

    @Test("Text and tokens and back, in both servers' forms")
    func tokenizing() async throws {
        try await TestServer.run { server in
            let tokens = try await server.post("/tokenize", #"{"prompt": "Hi", "return_token_strs": true}"#).json
            #expect(try tokens["count"].integer() == 2)
            #expect(try tokens["token_strs"].strings() == ["H", "i"])
            let ids = try tokens["tokens"].integers()
            let plain = try await server.post("/tokenize", #"{"content": "Hi"}"#).json
            #expect(try plain["tokens"].integers() == ids)
            #expect(!plain["token_strs"].isMissing && plain["token_strs"].isNull)
            let text = try await server.post("/detokenize", #"{"tokens": [\#(ids[0]), \#(ids[1])]}"#).json
            #expect(try (text["prompt"].string(), text["content"].string()) == ("Hi", "Hi"))
            let chat = try await server.post("/tokenize", #"{"messages": [{"role": "user", "content": "Hi"}]}"#).json
            #expect(try chat["tokens"].integers().first == 0)
            #expect(try await server.post("/detokenize", #"{"tokens": [12345]}"#).status == 400)
            #expect(try await server.get("/tokenizer_info").json["model_max_length"].integer() == 400)
            #expect(try await server.get("/v1/models").json["data"].elements()[0]["id"].string() == "tiny")
        }
    }
}

@Suite struct ToolCallParserTests {
    private func parse(_ pieces: [String]) -> (text: String, parser: ToolCallParser) {
        var parser = ToolCallParser()
        var text = pieces.map { parser.append($0) }.joined()
        text += parser.finish()
        return (text, parser)
    }

    @Test("Calls are found however the answer is cut, and the text around them goes through")
    func calls() {
        let answer =
            #"Let me look.<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}</tool_call> and <tool_call>{"name": "time", "arguments": "{}"}"#
            .replacing("\\n", with: "\n")
        for size in [1, 2, 3, 7, 1000] {
            var pieces: [String] = []
            var rest = answer[...]
            while !rest.isEmpty {
                pieces.append(String(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
            let (text, parser) = parse(pieces)
            #expect(text == "Let me look. and ")
            #expect(parser.calls.map(\.name) == ["weather", "time"])
            #expect(parser.calls.map(\.arguments) == [#"{"city":"Rome"}"#, "{}"])
        }
    }

    @Test("Space between calls and behind the last one is no text", arguments: ["\n", " \n\n", ""])
    func spaceBetweenCalls(_ space: String) {
        let call = #"<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>"#.replacing("\\n", with: "\n")
        for pieces in [[call + space + call + space], (call + space + call + space).map(String.init)] {
            let (text, parser) = parse(pieces)
            #expect(text.isEmpty && parser.calls.count == 2)
        }
        #expect(parse([call + space + "<b>"]).text == space + "<b>")
    }

    @Test(
        "What is no call in the end is text",
        arguments: ["a < b", "<tool_call>no JSON</tool_call>", "<tool_call>{\"name\": 3}", "<tool_cal"])
    func text(_ answer: String) {
        let (text, parser) = parse(answer.map(String.init))
        #expect(text == answer)
        #expect(parser.calls.isEmpty)
    }
}
