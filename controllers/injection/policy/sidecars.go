// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// allContainers as the choice of containers means all, sidecars too.
const allContainers = "*"

// Sidecars are the names of containers that others add to Pods, and which have no use for the
// settings of an application. Whoever chooses containers may choose these too.
// config/injection/policies.yaml and docs/guides/injection.md have the same list.
var Sidecars = []string{
	"alloydb-auth-proxy", "cloud-sql-proxy", "cloudsql-proxy", "consul-dataplane", "daprd", "envoy", "istio-proxy",
	"kuma-sidecar", "linkerd-proxy", "oauth2-proxy", "otc-container", "vault-agent",
}

// chosen reports whether a container is to be injected.
func (c Claim) chosen(container string) bool {
	switch {
	case len(c.Containers) == 0:
		return !slices.Contains(Sidecars, container)
	case c.Containers[0] == allContainers:
		return true
	default:
		return slices.Contains(c.Containers, container)
	}
}
