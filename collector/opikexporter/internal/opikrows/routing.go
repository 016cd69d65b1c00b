package opikrows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Destination is where rows go. An empty workspace means the configured one.
type Destination struct {
	Project   string
	Workspace string
}

// Routing chooses the destination of each span: its own `opik.project`; its tenant's entry; the configured project; the
// service's name. Never Opik's "Default Project".
type Routing struct {
	// Project is a project's name, in which {service}, {tenant} and {environment} are filled in from the span.
	Project string
	// Service is the name to use where a span's resource has none.
	Service string
	// Tenants: tenant -> project name, or `project @workspace` for a tenant with a workspace of its own.
	Tenants map[string]string
}

const (
	unnamedService = "unknown_service"
	// tenantWorkspace stands between the project and the workspace of a tenant.
	tenantWorkspace = " @"
	// longestProject is in characters. On a longer name Opik's database fails, and with it every request that has it.
	longestProject = 150
	projectMark    = 12
)

// Validate reports a placeholder that does not exist, and a tenant that no span has.
func (r Routing) Validate() error {
	rest := strings.NewReplacer("{service}", "", "{tenant}", "", "{environment}", "").Replace(r.Project)
	if strings.ContainsAny(rest, "{}") {
		return fmt.Errorf("project %q has a placeholder that does not exist; use {service}, {tenant}, {environment}, or none", r.Project)
	}
	for _, tenant := range slices.Sorted(maps.Keys(r.Tenants)) {
		if tenant == "" || cleanName(tenant) != tenant {
			return fmt.Errorf("tenants: no span has the tenant %q: take away blanks around the name, and what cannot be printed", tenant)
		}
	}
	return nil
}

func (r Routing) destination(span, resource attributes) Destination {
	tenant := tenantOf(span.values[attrTenant])
	project, _, _ := strings.Cut(r.Tenants[tenant], tenantWorkspace)
	chosen := orText(
		cleanName(span.values[attrOpikProject]), cleanName(project), r.configured(tenant, resource), r.fallback(resource),
	)
	return Destination{fitting(chosen), r.workspace(tenant)}
}

// fitting is the name, or of one that is too long the beginning and a hash of the whole, so that no two become one.
func fitting(name string) string {
	if utf8.RuneCountInString(name) <= longestProject {
		return name
	}
	digest := sha256.Sum256([]byte(name))
	return firstLetters(name, longestProject-projectMark-1) + "~" + hex.EncodeToString(digest[:])[:projectMark]
}

// WorkspaceOf is the workspace of the span's row; empty means the configured one.
func (r Routing) WorkspaceOf(span ptrace.Span) string {
	var tenant any
	for key, value := range span.Attributes().All() { // of a repeated key the last counts, as in the row
		if key == attrTenant {
			tenant = valueOf(value)
		}
	}
	return r.workspace(tenantOf(tenant))
}

// Workspaces are those that tenants have of their own, sorted.
func (r Routing) Workspaces() []string {
	var names []string
	for tenant := range r.Tenants {
		if name := r.workspace(tenant); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r Routing) workspace(tenant string) string {
	_, workspace, _ := strings.Cut(r.Tenants[tenant], tenantWorkspace)
	return cleanName(workspace)
}

func tenantOf(attribute any) string { return orText(cleanName(attribute), unknownTenant) }

// fallback is the project of spans for which none was configured: the service's name.
func (r Routing) fallback(resource attributes) string {
	name := cleanName(resource.values[attrServiceName])
	if name != "" && !strings.HasPrefix(name, unnamedService) {
		return name
	}
	return orText(cleanName(r.Service), name, unnamedService)
}

func (r Routing) configured(tenant string, resource attributes) string {
	template := cleanName(r.Project)
	if !strings.Contains(template, "{") {
		return template
	}
	environment := cleanName(orElse(resource.values[attrEnvironment], resource.values[attrEnvironmentOld]))
	filled := strings.ReplaceAll(template, "{service}", r.fallback(resource))
	filled = strings.ReplaceAll(filled, "{tenant}", tenant)
	return cleanName(strings.ReplaceAll(filled, "{environment}", orText(environment, "unknown")))
}

// orText is the first text that is not empty.
func orText(candidates ...string) string {
	for _, candidate := range candidates {
		if candidate != "" {
			return candidate
		}
	}
	return ""
}

// cleanName is a name that Opik takes for a project: no control characters, no blanks around it; "" if nothing stays.
func cleanName(value any) string {
	name, _ := value.(string)
	printable := strings.Map(func(letter rune) rune {
		if unicode.IsPrint(letter) {
			return letter
		}
		return ' '
	}, name)
	return strip(printable)
}
