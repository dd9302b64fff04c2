import Foundation
import TestSupport
import Testing

@testable import HubClient

@Suite struct SettingsTests {
    private func settings(_ environment: [String: String]) throws -> HubSettings {
        try HubSettings(environment: ["HOME": "/home/me"].merging(environment) { $1 })
    }

    @Test(
        "The cache is where huggingface_hub has it",
        arguments: [
            ([:], "/home/me/.cache/huggingface/hub"),
            (["XDG_CACHE_HOME": "/x"], "/x/huggingface/hub"),
            (["XDG_CACHE_HOME": "/x", "HF_HOME": "~/hf"], "/home/me/hf/hub"),
            (["HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old"], "/old"),
            (
                [
                    "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "$SCRATCH/${USER}/hub", "SCRATCH": "/s",
                    "USER": "me",
                ], "/s/me/hub"
            ),
            (["HF_HUB_CACHE": ""], "/home/me/.cache/huggingface/hub"),
        ] as [([String: String], String)])
    func cache(_ environment: [String: String], _ path: String) throws {
        #expect(try settings(environment).cache.path == path)
    }

    @Test(
        "The token is the environment's, else the file's; spaces around it go, and what no header can hold is refused")
    func token() throws {
        let directory = try TemporaryDirectory()
        try directory.write("hf_file\n", as: "token")
        #expect(try settings(["HF_HOME": directory.url.path]).token == "hf_file")
        #expect(try settings(["HF_HOME": directory.url.path, "HF_TOKEN": " hf_variable\n"]).token == "hf_variable")
        #expect(try settings(["HF_HOME": "/", "HF_TOKEN_PATH": directory.file("token").path]).token == "hf_file")
        #expect(try settings(["HF_TOKEN": "hf_variable", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "yes"]).token == nil)
        #expect(try settings([:]).token == nil)
        let error = #expect(throws: HubError.self) { try settings(["HF_TOKEN": "hf_a\r\nHost: evil"]) }
        #expect(error?.localizedDescription.contains("HF_TOKEN") == true)
        #expect(error?.localizedDescription.contains("evil") == false)
    }

    @Test("Switches, times and addresses are checked")
    func values() throws {
        #expect(try settings(["TRANSFORMERS_OFFLINE": "1"]).isOffline)
        #expect(try settings(["HF_HUB_OFFLINE": "on"]).isOffline)
        #expect(try !settings(["HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"]).isOffline)
        #expect(try settings(["HF_HUB_DOWNLOAD_TIMEOUT": "30"]).downloadTimeout == .seconds(30))
        #expect(
            try settings(["HF_ENDPOINT": "https://mirror.example/hub/"]).endpoint.absoluteString
                == "https://mirror.example/hub")
        for (name, value) in [
            ("HF_ENDPOINT", "mirror.example"), ("HF_ENDPOINT", "ftp://x"), ("HF_ENDPOINT", "https://me:secret@x"),
            ("HF_HUB_ETAG_TIMEOUT", "soon"), ("HF_HUB_ETAG_TIMEOUT", "-1"),
        ] {
            #expect(throws: HubError.self, "\(name)=\(value)") { try settings([name: value]) }
        }
    }

    @Test("Proxies are those of curl's variables, less the hosts that need none")
    func proxies() throws {
        let proxies = HubProxies(environment: [
            "HTTPS_PROXY": "http://me:se%20cret@proxy.example:3128", "all_proxy": "socks5://127.0.0.1",
            "NO_PROXY": "localhost, .internal.example",
        ])
        let proxy = try #require(proxies.proxy(for: URL(string: "https://huggingface.co/a")!))
        #expect((proxy.host, proxy.port) == ("proxy.example", 3128))
        #expect((proxy.user, proxy.password) == ("me", "se cret"))
        #expect(proxies.proxy(for: URL(string: "http://plain.example")!)?.isSOCKS == true)
        #expect(proxies.proxy(for: URL(string: "https://hub.internal.example")!) == nil)
        #expect(proxies.proxy(for: URL(string: "http://localhost:8080")!) == nil)
        #expect(proxies.proxy(for: URL(string: "https://notinternal.example")!) != nil)
    }
}

@Suite struct ModelRepositoryTests {
    @Test(
        "What stands for a model on the hub",
        arguments: [
            ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", "main", nil),
            ("hf://org/name", "org/name", "main", nil), ("hf://gpt2", "gpt2", "main", nil),
            ("org/name@v1.0", "org/name", "v1.0", nil), ("org/name@refs/pr/3", "org/name", "refs/pr/3", nil),
            ("org/name-GGUF/sub/model-q8_0.gguf", "org/name-GGUF", "main", "sub/model-q8_0.gguf"),
            ("hf://org/name/model.gguf@abc", "org/name", "abc", "model.gguf"),
        ] as [(String, String, String, String?)])
    func names(_ text: String, _ id: String, _ revision: String, _ file: String?) throws {
        let repository = try #require(try ModelRepository(reference: text))
        #expect((repository.id, repository.revision, repository.file) == (id, revision, file))
    }

    @Test(
        "What can only be a path",
        arguments: [
            "model", "./org/name", "../org/name", "/org/name", "org/name/", "org/name/deep", "org//name", "~/name",
            "a b/c",
            "org/name.git", "org/na--me", "org/name@", "org/name@../x", "-org/name", "org/../x.gguf", "",
        ])
    func paths(_ text: String) throws {
        #expect(try ModelRepository(reference: text) == nil)
    }

    @Test("Behind hf:// anything else is an error", arguments: ["hf://", "hf:///x", "hf://a/b/../c.gguf", "hf://a/b@"])
    func explicit(_ text: String) {
        #expect(throws: HubError.self) { try ModelRepository(reference: text) }
    }
}
