package opikrows

import "strings"

// Opik looks a price up by (model, provider) and prices nothing under a name it does not know.

const (
	providerAnthropic      = "anthropic"
	providerBedrock        = "bedrock"
	providerAzure          = "azure"
	providerGoogleAI       = "google_ai"
	providerVertex         = "google_vertexai"
	providerClaudeOnVertex = "anthropic_vertexai"
	// providerSomeGoogle needs the server's address to tell which of Google's two it is.
	providerSomeGoogle = "google"
	vertexHost         = "aiplatform.googleapis.com"
)

// canonicalProviders: name as instrumentations write it, in lower case -> the name that Opik prices under.
var canonicalProviders = map[string]string{
	"openai": "openai", "open_ai": "openai", "text-completion-openai": "openai",
	"azure": providerAzure, "azure_openai": providerAzure, "azure.ai.openai": providerAzure,
	"az.ai.openai": providerAzure, "azure-openai": providerAzure, "microsoft": providerAzure,
	"anthropic":          providerAnthropic,
	"anthropic_vertexai": providerClaudeOnVertex, "vertex_ai-anthropic_models": providerClaudeOnVertex,
	"google.vertex.anthropic": providerClaudeOnVertex,
	"aws":                     providerBedrock, "aws.bedrock": providerBedrock, "amazon_bedrock": providerBedrock,
	"amazon-bedrock": providerBedrock, "bedrock": providerBedrock, "bedrock_converse": providerBedrock,
	"gcp.gemini": providerGoogleAI, "gemini": providerGoogleAI, "google_ai": providerGoogleAI,
	"google_genai": providerGoogleAI, "google_ai_gemini": providerGoogleAI, "google.generative-ai": providerGoogleAI,
	"gcp.vertex_ai": providerVertex, "google_vertexai": providerVertex, "google-vertex": providerVertex,
	"google.vertex": providerVertex, "vertex_ai": providerVertex, "vertex_ai_beta": providerVertex,
	"vertex-ai": providerVertex, "vertexai": providerVertex,
	"gcp.gen_ai": providerSomeGoogle, "google": providerSomeGoogle,
	"mistral": "mistral", "mistral_ai": "mistral", "mistralai": "mistral",
	"xai": "xai", "x_ai": "xai",
	"moonshot": "moonshot", "moonshot_ai": "moonshot",
	"groq": "groq",
	"jina": "jina_ai", "jina_ai": "jina_ai",
	"ibm.watsonx.ai": "watsonx",
	"cohere_chat":    "cohere",
}

var providerAttributes = []string{attrProvider, attrProviderGenA, "llm.provider", "llm.system"}

// uncachedInput names, for the providers whose cached tokens Opik bills besides the input, the key of the input without them.
var uncachedInput = map[string]string{
	providerAnthropic:      "original_usage.input_tokens",
	providerClaudeOnVertex: "original_usage.input_tokens",
	providerBedrock:        "original_usage.inputTokens",
}

// providerOf is the provider under Opik's name; "" where the span names none.
func providerOf(span attributes, model string) string {
	for _, attribute := range providerAttributes {
		if name := strip(span.text(attribute)); name != "" {
			return canonicalProvider(strings.ToLower(name), span, model)
		}
	}
	if name := strip(span.text(attrVercelProvider)); name != "" {
		return canonicalProvider(withoutEndpoint(strings.ToLower(name)), span, model)
	}
	return ""
}

func canonicalProvider(name string, span attributes, model string) string {
	provider, known := canonicalProviders[name]
	if !known {
		provider = name
	}
	if provider == providerSomeGoogle {
		provider = providerGoogleAI
		if strings.Contains(textOf(span.values[attrServerAddress]), vertexHost) {
			provider = providerVertex
		}
	}
	if provider == providerVertex && strings.Contains(strings.ToLower(model), "claude") {
		return providerClaudeOnVertex
	}
	return provider
}

// withoutEndpoint takes the kind of endpoint off Vercel's names (`openai.chat`, `google.vertex.chat`).
func withoutEndpoint(name string) string {
	for {
		dot := strings.LastIndexByte(name, '.')
		if _, known := canonicalProviders[name]; known || dot < 0 {
			return name
		}
		name = name[:dot]
	}
}
