module github.com/otel-llm/otel-llm/collector/container

go 1.26
