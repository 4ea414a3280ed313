// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// VariableName is the name of an environment variable of workloads. Names that change how programs
// load code, find each other or connect are refused: docs/guides/variables.md lists them.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",message="the name of a variable consists of letters, digits and '_' and does not start with a digit: write for example FEATURE_FLAGS"
// +kubebuilder:validation:XValidation:rule="!self.matches('^(ENVIRONMENT|LOG_FORMAT|LOG_LEVEL|SENTRY_DSN|SENTRY_ENVIRONMENT|SENTRY_RELEASE|SENTRY_TRACES_SAMPLE_RATE|OBSTACK_(SENTRY|LOGGING|METRICS|CELERY|SCRUB_HEADERS|SCRUB_FIELDS))$')",message="obstack sets this variable itself: write spec.environment for ENVIRONMENT and SENTRY_ENVIRONMENT, spec.sentry for SENTRY_DSN, SENTRY_RELEASE and SENTRY_TRACES_SAMPLE_RATE, spec.logging for LOG_LEVEL and LOG_FORMAT, spec.python for OBSTACK_*"
// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^(LD_.*|DYLD_.*|GCONV_PATH|GETCONF_DIR|GLIBC_TUNABLES|HOSTALIASES|LOCALDOMAIN|LOCPATH|MALLOC_.*|NLSPATH|RESOLV_.*|RES_OPTIONS|PATH|BASH.*|CDPATH|ENV|HOME|IFS|LESSOPEN|PROMPT_COMMAND|PS0|PS1|PS2|PS4|SHELL|SHELLOPTS|XDG_.*|GIT_.*|PYTHON.*|PIP_.*|UV_.*|VIRTUAL_ENV|GUNICORN_CMD_ARGS|UWSGI_.*|UVICORN_.*|CELERY_CONFIG_MODULE|CELERY_LOADER|DJANGO_SETTINGS_MODULE|FLASK_APP|ERL_.*|NODE_OPTIONS|NODE_PATH|NODE_EXTRA_CA_CERTS|NODE_REPL_EXTERNAL_MODULE|NODE_TLS_REJECT_UNAUTHORIZED|NPM_CONFIG_.*|PERL.*|RUBY.*|BUNDLE_.*|GEM_.*|LUA_.*|PHPRC|PHP_INI_SCAN_DIR|GODEBUG|JAVA_OPTS|JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS|_JAVA_OPTIONS|CLASSPATH|CATALINA_OPTS|LOADER_PATH|ASPNETCORE_HOSTINGSTARTUPASSEMBLIES|COMPLUS_.*|CORECLR_.*|COR_.*|DOTNET_.*|.*_PROXY|AWS_CA_BUNDLE|AWS_CONFIG_FILE|CURL_.*|GRPC_DEFAULT_SSL_ROOTS_FILE_PATH|OPENSSL_.*|REQUESTS_CA_BUNDLE|SSLKEYLOGFILE|SSL_CERT_.*|KUBECONFIG|KUBERNETES_.*)$')",message="this variable changes how programs load code, find each other or connect, so a stack must not set it: set it in the workload itself"
type VariableName string

// EnvVar is an environment variable of the workloads.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueFrom)",message="exactly one of value and valueFrom must be set: value for what everybody may read, valueFrom for a key of a ConfigMap or Secret"
type EnvVar struct {
	// name of the variable. A variable of that name that a container sets itself wins.
	// +required
	Name VariableName `json:"name,omitempty"`

	// value of the variable, as it is: $(NAME) is not replaced.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	Value string `json:"value,omitempty"`

	// valueFrom takes the value from a key of at most 8192 bytes, without the white space around
	// it. While the key is missing the workloads keep the settings that they have.
	// +optional
	ValueFrom *EnvVarSource `json:"valueFrom,omitempty"`
}

// EnvVarSource is where the value of a variable is.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapKeyRef) != has(self.secretKeyRef)",message="exactly one of configMapKeyRef and secretKeyRef must be set: write for example configMapKeyRef: {name: shop, key: flags}"
type EnvVarSource struct {
	// configMapKeyRef names a ConfigMap, in the stack's namespace, and its key.
	// +optional
	ConfigMapKeyRef *ConfigMapKeySelector `json:"configMapKeyRef,omitempty"`

	// secretKeyRef names a Secret, in the stack's namespace, and its key.
	// +optional
	SecretKeyRef *SecretKeySelector `json:"secretKeyRef,omitempty"`
}

// ConfigMapKeySelector names one key of a ConfigMap in the stack's namespace.
type ConfigMapKeySelector struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key in the ConfigMap's data.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="a ConfigMap's key consists of letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}
