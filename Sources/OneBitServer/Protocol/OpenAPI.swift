// swift-format-ignore-file
import Foundation
import JSON

/// What the server says of its own API at `/openapi.json`, as OpenAPI 3.1 has it. Kept by hand; it is also the list of the addresses that
/// there are, and runs/check_openapi.py holds the server against it.
enum OpenAPI {
    /// An address that there is, without the version that it may leave out.
    static func path(of path: String) -> String? { ["", "/v1"].map { $0 + path }.first { methods[$0] != nil } }

    /// The methods of each address, as the `Allow` header names them.
    static let methods: [String: String] = {
        guard let node = try? Data(text.utf8).withUnsafeBytes({ try JSONNode(parsing: $0, file: "openapi.json") }),
            let paths = try? node["paths"].members()
        else { preconditionFailure("the document is a constant") }
        return Dictionary(uniqueKeysWithValues: paths.map { path, operations in
            (path, operations["get"].isMissing ? "POST" : "GET, HEAD")
        })
    }()

    static let text = #"""
{
  "openapi": "3.1.0",
  "info": {
    "title": "onebit serve",
    "version": "1",
    "description": "A language model for clients of OpenAI's API. Fields that are not named here are not looked at."
  },
  "security": [{}, {"bearer": []}, {"header": []}],
  "paths": {
    "/v1/chat/completions": {
      "post": {
        "summary": "Answer a conversation.",
        "requestBody": {
          "required": true,
          "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatCompletionRequest"}}}
        },
        "responses": {
          "200": {
            "description": "The answers.",
            "content": {
              "application/json": {"schema": {"$ref": "#/components/schemas/ChatCompletion"}},
              "text/event-stream": {
                "schema": {
                  "type": "object",
                  "required": ["data"],
                  "properties": {"data": {"type": "string"}},
                  "description": "An event, with stream: true. Its data are a chunk as JSON; those of the last one are [DONE]. Lines that begin with a colon keep the connection open."
                }
              }
            }
          },
          "4XX": {"$ref": "#/components/responses/Refusal"},
          "503": {"$ref": "#/components/responses/Busy"}
        }
      }
    },
    "/v1/completions": {
      "post": {
        "summary": "Continue texts.",
        "requestBody": {
          "required": true,
          "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CompletionRequest"}}}
        },
        "responses": {
          "200": {
            "description": "The texts.",
            "content": {
              "application/json": {"schema": {"$ref": "#/components/schemas/Completion"}},
              "text/event-stream": {
                "schema": {
                  "type": "object",
                  "required": ["data"],
                  "properties": {"data": {"type": "string"}},
                  "description": "An event, with stream: true. Its data are a chunk as JSON; those of the last one are [DONE]. Lines that begin with a colon keep the connection open."
                }
              }
            }
          },
          "4XX": {"$ref": "#/components/responses/Refusal"},
          "503": {"$ref": "#/components/responses/Busy"}
        }
      }
    },
    "/v1/models": {
      "get": {
        "summary": "The model.",
        "responses": {
          "200": {
            "description": "A list of one.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Models"}}}
          },
          "4XX": {"$ref": "#/components/responses/Refusal"}
        }
      }
    },
    "/v1/models/{model}": {
      "get": {
        "summary": "The model, by its name.",
        "parameters": [{"name": "model", "in": "path", "required": true, "schema": {"type": "string"}}],
        "responses": {
          "200": {
            "description": "The model.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Model"}}}
          },
          "4XX": {"$ref": "#/components/responses/Refusal"}
        }
      }
    },
    "/tokenize": {
      "post": {
        "summary": "The tokens of a text or a conversation.",
        "requestBody": {
          "required": true,
          "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TokenizeRequest"}}}
        },
        "responses": {
          "200": {
            "description": "The tokens.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tokens"}}}
          },
          "4XX": {"$ref": "#/components/responses/Refusal"}
        }
      }
    },
    "/detokenize": {
      "post": {
        "summary": "The text of tokens.",
        "requestBody": {
          "required": true,
          "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DetokenizeRequest"}}}
        },
        "responses": {
          "200": {
            "description": "The text.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Text"}}}
          },
          "4XX": {"$ref": "#/components/responses/Refusal"}
        }
      }
    },
    "/tokenizer_info": {
      "get": {
        "summary": "What clients have to know of the tokenizer.",
        "responses": {
          "200": {
            "description": "Its special tokens and chat template.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TokenizerInfo"}}}
          },
          "4XX": {"$ref": "#/components/responses/Refusal"}
        }
      }
    },
    "/health": {
      "get": {
        "summary": "Whether the server answers.",
        "responses": {
          "200": {
            "description": "It does.",
            "content": {
              "application/json": {
                "schema": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
              }
            }
          },
          "4XX": {"$ref": "#/components/responses/Refusal"}
        },
        "security": []
      }
    },
    "/metrics": {
      "get": {
        "summary": "Counts and times.",
        "responses": {
          "200": {
            "description": "Prometheus' text format 0.0.4.",
            "content": {"text/plain": {"schema": {"type": "string"}}}
          },
          "4XX": {"$ref": "#/components/responses/Refusal"}
        }
      }
    },
    "/openapi.json": {
      "get": {
        "summary": "This document.",
        "responses": {
          "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}},
          "4XX": {"$ref": "#/components/responses/Refusal"}
        },
        "security": []
      }
    },
    "/": {
      "get": {
        "summary": "The chat page.",
        "responses": {
          "200": {"description": "One file.", "content": {"text/html": {"schema": {"type": "string"}}}},
          "4XX": {"$ref": "#/components/responses/Refusal"}
        },
        "security": []
      }
    }
  },
  "components": {
    "securitySchemes": {
      "bearer": {"type": "http", "scheme": "bearer"},
      "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
    },
    "responses": {
      "Refusal": {
        "description": "What is wrong with the request.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      },
      "Busy": {
        "description": "Too many texts are waiting.",
        "headers": {"Retry-After": {"required": true, "schema": {"type": "integer"}, "description": "Seconds."}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      }
    },
    "schemas": {
      "SamplingFields": {
        "type": "object",
        "description": "How texts are drawn and answered, of both kinds of requests.",
        "properties": {
          "model": {
            "type": ["string", "null"],
            "description": "Any name, unless the server was started with --exact-model."
          },
          "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 100, "default": 1},
          "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1, "default": 1},
          "top_k": {
            "type": ["integer", "null"],
            "minimum": -1,
            "maximum": 1073741824,
            "description": "0 and -1: all tokens."
          },
          "min_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 0},
          "repetition_penalty": {
            "type": ["number", "null"],
            "minimum": 0.01,
            "maximum": 100,
            "default": 1,
            "description": "Of tokens of the prompt and the text so far. As repeat_penalty, of the last 64 of them."
          },
          "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
          "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
          "seed": {
            "type": ["integer", "null"],
            "minimum": -9223372036854775808,
            "maximum": 9223372036854775807,
            "description": "The same seed gives the same text. Choice i of n has seed + i."
          },
          "stop": {
            "description": "Of at most 256 bytes each.",
            "oneOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}, "maxItems": 16}]
          },
          "logit_bias": {
            "type": ["object", "null"],
            "propertyNames": {"pattern": "^[0-9]+$"},
            "maxProperties": 1024,
            "additionalProperties": {"oneOf": [{"type": "number", "minimum": -100, "maximum": 100}, {"const": false}]},
            "description": "From token ids to what is added to their logits; false bans a token."
          },
          "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 16, "default": 1},
          "stream": {"type": ["boolean", "null"], "default": false},
          "stream_options": {
            "type": ["object", "null"],
            "properties": {"include_usage": {"type": ["boolean", "null"]}},
            "description": "With stream: true only."
          },
          "response_format": {"type": ["object", "null"], "properties": {"type": {"const": "text"}}, "required": ["type"]},
          "cache_prompt": {
            "type": ["boolean", "null"],
            "default": true,
            "description": "Whether what was read of earlier prompts may be used, and this one kept for later ones."
          },
          "ignore_eos": {"type": ["boolean", "null"], "default": false, "description": "Texts go on until their length."}
        }
      },
      "CompletionRequest": {
        "allOf": [{"$ref": "#/components/schemas/SamplingFields"}],
        "type": "object",
        "required": ["prompt"],
        "properties": {
          "prompt": {
            "description": "A text, texts, token ids, or lists of them.",
            "oneOf": [
              {"type": "string"},
              {
                "type": "array",
                "items": {
                  "oneOf": [
                    {"type": "string"},
                    {
                      "type": "array",
                      "items": {"type": "integer", "minimum": 0},
                      "minItems": 1,
                      "description": "Token ids."
                    }
                  ]
                },
                "minItems": 1,
                "maxItems": 256
              },
              {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "minItems": 1,
                "description": "Token ids."
              }
            ]
          },
          "max_tokens": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 1073741824,
            "default": 16,
            "description": "0 with echo only."
          },
          "echo": {
            "type": ["boolean", "null"],
            "default": false,
            "description": "The texts begin with their prompts, and logprobs tell of these tokens too."
          },
          "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
          "add_special_tokens": {
            "type": ["boolean", "null"],
            "description": "Whether the tokenizer puts its special tokens around a prompt that is text; not with echo unless asked for."
          },
          "best_of": {"type": ["integer", "null"], "minimum": 1, "maximum": 16, "description": "As many as n."},
          "suffix": {"type": ["string", "null"], "maxLength": 0, "description": "Texts cannot be filled in."}
        }
      },
      "ChatCompletionRequest": {
        "allOf": [{"$ref": "#/components/schemas/SamplingFields"}],
        "type": "object",
        "required": ["messages"],
        "properties": {
          "messages": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Message"},
            "minItems": 1,
            "maxItems": 4096
          },
          "tools": {
            "type": ["array", "null"],
            "items": {
              "type": "object",
              "required": ["type", "function"],
              "properties": {
                "type": {"const": "function"},
                "function": {
                  "type": "object",
                  "required": ["name"],
                  "properties": {
                    "name": {"type": "string"},
                    "description": {"type": ["string", "null"]},
                    "parameters": {"type": ["object", "null"]}
                  }
                }
              }
            },
            "maxItems": 128
          },
          "tool_choice": {"enum": ["auto", "none", null]},
          "chat_template_kwargs": {
            "type": ["object", "null"],
            "description": "Variables of the model's template, such as enable_thinking."
          },
          "add_generation_prompt": {"type": ["boolean", "null"]},
          "continue_final_message": {
            "type": ["boolean", "null"],
            "default": false,
            "description": "The answer goes on with the last message."
          },
          "max_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 1073741824},
          "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 1073741824},
          "logprobs": {"type": ["boolean", "null"], "default": false},
          "top_logprobs": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 20,
            "description": "With logprobs: true only."
          }
        }
      },
      "Message": {
        "oneOf": [
          {
            "type": "object",
            "required": ["role", "content"],
            "properties": {
              "role": {"enum": ["system", "developer", "user", "tool"]},
              "content": {
                "oneOf": [
                  {"type": "string"},
                  {
                    "type": "array",
                    "items": {
                      "type": "object",
                      "required": ["type", "text"],
                      "properties": {"type": {"const": "text"}, "text": {"type": "string"}}
                    }
                  }
                ]
              },
              "name": {"type": ["string", "null"]},
              "tool_call_id": {"type": ["string", "null"]}
            }
          },
          {
            "type": "object",
            "required": ["role"],
            "anyOf": [
              {"required": ["content"]},
              {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array"}}}
            ],
            "properties": {
              "role": {"const": "assistant"},
              "content": {
                "oneOf": [
                  {"type": "null"},
                  {"type": "string"},
                  {
                    "type": "array",
                    "items": {
                      "type": "object",
                      "required": ["type", "text"],
                      "properties": {"type": {"const": "text"}, "text": {"type": "string"}}
                    }
                  }
                ]
              },
              "reasoning_content": {"type": ["string", "null"]},
              "name": {"type": ["string", "null"]},
              "tool_calls": {
                "type": ["array", "null"],
                "items": {
                  "type": "object",
                  "required": ["function"],
                  "properties": {
                    "id": {"type": ["string", "null"]},
                    "type": {"enum": ["function", null]},
                    "function": {
                      "type": "object",
                      "required": ["name", "arguments"],
                      "properties": {"name": {"type": "string"}, "arguments": {"type": "string", "description": "JSON."}}
                    }
                  }
                }
              }
            }
          }
        ]
      },
      "Completion": {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices", "usage", "timings"],
        "properties": {
          "id": {"type": "string"},
          "object": {"const": "text_completion"},
          "created": {"type": "integer"},
          "model": {"type": "string"},
          "choices": {
            "type": "array",
            "items": {
              "type": "object",
              "required": ["index", "text", "logprobs", "finish_reason"],
              "properties": {
                "index": {"type": "integer", "minimum": 0},
                "text": {"type": "string"},
                "finish_reason": {"enum": ["stop", "length"]},
                "logprobs": {
                  "oneOf": [
                    {"type": "null"},
                    {
                      "type": "object",
                      "required": ["tokens", "token_logprobs", "top_logprobs", "text_offset"],
                      "properties": {
                        "tokens": {"type": "array", "items": {"type": "string"}},
                        "token_logprobs": {
                          "type": "array",
                          "items": {"oneOf": [{"type": "null"}, {"type": "number", "maximum": 0, "minimum": -9999}]}
                        },
                        "top_logprobs": {
                          "type": "array",
                          "items": {
                            "oneOf": [
                              {"type": "null"},
                              {
                                "type": "object",
                                "additionalProperties": {"type": "number", "maximum": 0, "minimum": -9999}
                              }
                            ]
                          }
                        },
                        "text_offset": {"type": "array", "items": {"type": "integer", "minimum": 0}}
                      }
                    }
                  ]
                }
              }
            },
            "minItems": 1
          },
          "usage": {"$ref": "#/components/schemas/Usage"},
          "timings": {"$ref": "#/components/schemas/Timings"}
        }
      },
      "ChatCompletion": {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices", "usage", "timings"],
        "properties": {
          "id": {"type": "string"},
          "object": {"const": "chat.completion"},
          "created": {"type": "integer"},
          "model": {"type": "string"},
          "choices": {
            "type": "array",
            "items": {
              "type": "object",
              "required": ["index", "message", "logprobs", "finish_reason"],
              "properties": {
                "index": {"type": "integer", "minimum": 0},
                "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
                "message": {
                  "type": "object",
                  "required": ["role", "content", "refusal"],
                  "properties": {
                    "role": {"const": "assistant"},
                    "content": {"type": ["string", "null"]},
                    "refusal": {"type": "null"},
                    "tool_calls": {
                      "type": "array",
                      "items": {
                        "type": "object",
                        "required": ["function"],
                        "properties": {
                          "id": {"type": ["string", "null"]},
                          "type": {"enum": ["function", null]},
                          "function": {
                            "type": "object",
                            "required": ["name", "arguments"],
                            "properties": {
                              "name": {"type": "string"},
                              "arguments": {"type": "string", "description": "JSON."}
                            }
                          }
                        }
                      }
                    }
                  }
                },
                "logprobs": {
                  "oneOf": [
                    {"type": "null"},
                    {
                      "type": "object",
                      "required": ["content", "refusal"],
                      "properties": {
                        "content": {"type": "array", "items": {"$ref": "#/components/schemas/TokenLogProbability"}},
                        "refusal": {"type": "null"}
                      }
                    }
                  ]
                }
              }
            },
            "minItems": 1
          },
          "usage": {"$ref": "#/components/schemas/Usage"},
          "timings": {"$ref": "#/components/schemas/Timings"}
        }
      },
      "TokenLogProbability": {
        "type": "object",
        "required": ["token", "logprob", "bytes"],
        "properties": {
          "token": {"type": "string"},
          "logprob": {"type": "number", "maximum": 0, "minimum": -9999},
          "bytes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
          "top_logprobs": {"type": "array", "items": {"$ref": "#/components/schemas/TokenLogProbability"}}
        }
      },
      "Usage": {
        "type": "object",
        "required": ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"],
        "properties": {
          "prompt_tokens": {"type": "integer", "minimum": 0},
          "completion_tokens": {"type": "integer", "minimum": 0},
          "total_tokens": {"type": "integer", "minimum": 0},
          "prompt_tokens_details": {
            "type": "object",
            "required": ["cached_tokens"],
            "properties": {"cached_tokens": {"type": "integer", "minimum": 0}}
          }
        }
      },
      "Timings": {
        "type": "object",
        "required": ["prompt_tokens_per_second", "generated_tokens_per_second"],
        "properties": {
          "prompt_tokens_per_second": {"type": ["number", "null"]},
          "generated_tokens_per_second": {"type": ["number", "null"]}
        }
      },
      "Models": {
        "type": "object",
        "required": ["object", "data"],
        "properties": {
          "object": {"const": "list"},
          "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}
        }
      },
      "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by", "max_model_len"],
        "properties": {
          "id": {"type": "string"},
          "object": {"const": "model"},
          "created": {"type": "integer"},
          "owned_by": {"type": "string"},
          "max_model_len": {"type": "integer"}
        }
      },
      "TokenizeRequest": {
        "oneOf": [
          {
            "type": "object",
            "required": ["prompt"],
            "properties": {
              "prompt": {"type": "string"},
              "messages": {"type": "null"},
              "content": {"type": "null"},
              "add_special_tokens": {"type": ["boolean", "null"], "default": true},
              "return_token_strs": {"type": ["boolean", "null"]},
              "with_pieces": {"type": ["boolean", "null"]}
            }
          },
          {
            "type": "object",
            "required": ["content"],
            "properties": {
              "content": {"type": "string"},
              "messages": {"type": "null"},
              "add_special": {"type": ["boolean", "null"], "default": false},
              "return_token_strs": {"type": ["boolean", "null"]},
              "with_pieces": {"type": ["boolean", "null"]}
            },
            "description": "As llama.cpp has it."
          },
          {
            "type": "object",
            "required": ["messages"],
            "properties": {
              "messages": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Message"},
                "minItems": 1,
                "maxItems": 4096
              },
              "tools": {
                "type": ["array", "null"],
                "items": {
                  "type": "object",
                  "required": ["type", "function"],
                  "properties": {
                    "type": {"const": "function"},
                    "function": {
                      "type": "object",
                      "required": ["name"],
                      "properties": {
                        "name": {"type": "string"},
                        "description": {"type": ["string", "null"]},
                        "parameters": {"type": ["object", "null"]}
                      }
                    }
                  }
                },
                "maxItems": 128
              },
              "tool_choice": {"enum": ["auto", "none", null]},
              "chat_template_kwargs": {
                "type": ["object", "null"],
                "description": "Variables of the model's template, such as enable_thinking."
              },
              "add_generation_prompt": {"type": ["boolean", "null"]},
              "continue_final_message": {
                "type": ["boolean", "null"],
                "default": false,
                "description": "The answer goes on with the last message."
              },
              "return_token_strs": {"type": ["boolean", "null"]},
              "with_pieces": {"type": ["boolean", "null"]}
            }
          }
        ]
      },
      "Tokens": {
        "type": "object",
        "required": ["count", "max_model_len", "tokens", "token_strs"],
        "properties": {
          "count": {"type": "integer", "minimum": 0},
          "max_model_len": {"type": "integer"},
          "token_strs": {"type": ["array", "null"], "items": {"type": "string"}},
          "tokens": {
            "type": "array",
            "items": {
              "oneOf": [
                {"type": "integer"},
                {
                  "type": "object",
                  "required": ["id", "piece"],
                  "properties": {
                    "id": {"type": "integer"},
                    "piece": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]}
                  }
                }
              ]
            }
          }
        }
      },
      "DetokenizeRequest": {
        "type": "object",
        "required": ["tokens"],
        "properties": {"tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}}
      },
      "Text": {
        "type": "object",
        "required": ["prompt", "content"],
        "properties": {"prompt": {"type": "string"}, "content": {"type": "string"}}
      },
      "TokenizerInfo": {
        "type": "object",
        "required": ["bos_token", "eos_token", "pad_token", "vocab_size", "model_max_length", "chat_template"],
        "properties": {
          "bos_token": {"type": ["string", "null"]},
          "eos_token": {"type": ["string", "null"]},
          "pad_token": {"type": ["string", "null"]},
          "vocab_size": {"type": "integer"},
          "model_max_length": {"type": "integer"},
          "chat_template": {"type": ["string", "null"]}
        }
      },
      "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
          "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
              "message": {"type": "string", "minLength": 1},
              "type": {"type": "string"},
              "param": {"type": ["string", "null"], "description": "The field that is wrong."},
              "code": {"type": ["string", "integer"]}
            }
          }
        }
      }
    }
  }
}
"""#
}
