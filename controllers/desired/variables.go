// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"regexp"
	"strings"
)

// forbiddenVariables change how programs load code, find each other or connect, so no stack sets
// them, in whatever case they are written; * stands for any characters. The definition of the CRD
// and docs/guides/variables.md repeat them.
var forbiddenVariables = []string{
	// The loader, the C library and name resolution.
	"LD_*", "DYLD_*", "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "MALLOC_*",
	"NLSPATH", "RESOLV_*", "RES_OPTIONS",
	// Shells, and where programs look for their configuration.
	"PATH", "BASH*", "CDPATH", "ENV", "HOME", "IFS", "LESSOPEN", "PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS4", "SHELL",
	"SHELLOPTS", "XDG_*", "GIT_*",
	// Languages, and servers that take code from their arguments.
	"PYTHON*", "PIP_*", "UV_*", "VIRTUAL_ENV", "GUNICORN_CMD_ARGS", "UWSGI_*", "UVICORN_*",
	"CELERY_CONFIG_MODULE", "CELERY_LOADER", "DJANGO_SETTINGS_MODULE", "FLASK_APP", "ERL_*",
	"NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "NODE_REPL_EXTERNAL_MODULE", "NODE_TLS_REJECT_UNAUTHORIZED",
	"NPM_CONFIG_*", "PERL*", "RUBY*", "BUNDLE_*", "GEM_*", "LUA_*", "PHPRC", "PHP_INI_SCAN_DIR", "GODEBUG",
	"JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "CATALINA_OPTS",
	"LOADER_PATH", "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES",
	"COMPLUS_*", "CORECLR_*", "COR_*", "DOTNET_*",
	// Proxies, certificate authorities and the cluster's API server.
	"*_PROXY", "AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "CURL_*", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "OPENSSL_*",
	"REQUESTS_CA_BUNDLE", "SSLKEYLOGFILE", "SSL_CERT_*", "KUBECONFIG", "KUBERNETES_*",
}

// forbiddenPattern is what the definition of the CRD refuses.
var forbiddenPattern = "(?i)^(" + strings.ReplaceAll(strings.Join(forbiddenVariables, "|"), "*", ".*") + ")$"

var (
	forbidden    = regexp.MustCompile(forbiddenPattern)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// ownVariables are those that obstack sets itself, by the field to write instead.
var ownVariables = map[string]string{
	"ENVIRONMENT": "spec.environment", "SENTRY_ENVIRONMENT": "spec.environment",
	VariableDSN: "spec.sentry.dsnFrom", "SENTRY_RELEASE": "spec.sentry.release",
	"SENTRY_TRACES_SAMPLE_RATE": "spec.sentry.tracesSampleRate",
	"LOG_LEVEL":                 "spec.logging.level", "LOG_FORMAT": "spec.logging.format",
	"OBSTACK_SENTRY": "spec.python.sentry", "OBSTACK_LOGGING": "spec.python.logging",
	"OBSTACK_METRICS": "spec.python.metrics", "OBSTACK_CELERY": "spec.python.celeryEvents",
	"OBSTACK_SCRUB_HEADERS": "spec.python.scrub", "OBSTACK_SCRUB_FIELDS": "spec.python.scrub",
}

// refusal says why a stack must not set a variable; it is empty if it may. The API server refuses
// such a name first, but not in a stack that was stored before the name was on the list.
func refusal(name string) string {
	switch field, own := ownVariables[name]; {
	case own:
		return "obstack sets it itself: write " + field
	case forbidden.MatchString(name):
		return "it changes how programs load code, find each other or connect: set it in the workload itself"
	case !variableName.MatchString(name):
		return "its name must consist of letters, digits and '_': change it"
	default:
		return ""
	}
}
