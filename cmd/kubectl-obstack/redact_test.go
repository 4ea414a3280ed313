// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// redactorOf values of keys, with the names of objects.
func redactorOf(values map[string]string, names ...string) *redactor {
	r := &redactor{found: map[string]bool{}}
	for key, value := range values {
		r.addOf(key, value)
	}
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	r.ready(known)
	return r
}

// TestRedactorReadsWhatSecretsHold shows that each part of a value is found that is a secret of its
// own.
func TestRedactorReadsWhatSecretsHold(t *testing.T) {
	for name, tc := range map[string]struct{ value, shown string }{
		"a line of .env":           {"DEBUG=true\nexport SENTRY_TOKEN='hidden-value'\n", "token hidden-value"},
		"a line of .env, blanks":   {"PASS=hidden value of two\n", "is hidden value of two"},
		"YAML":                     {"db:\n  password: hidden-value # of mine\n", "pw hidden-value"},
		"YAML, quoted":             {"password: \"hidden\\\"value\"", `hidden"value`},
		"a list of YAML":           {"tokens:\n- hidden-value\n- 'hidden-other'\n", "hidden-other and hidden-value"},
		"a list in a line of YAML": {"tokens: [hidden-value, other]", "hidden-value"},
		"an array of JSON":         {`["hidden-value", {"a": ["hidden-other"]}]`, "hidden-value, hidden-other"},
		"a number of JSON":         {`{"pin": 184467440}`, "pin 184467440"},
		"a dict of Python":         {`{'password': 'hidden-value', "a": 1}`, "hidden-value"},
		"basic authentication":     {"admin:hidden-value", "with hidden-value"},
		"a connection string":      {"host=db user=a password=hidden-value", "hidden-value"},
		"one of .NET":              {"Server=db;Password=hidden-value;", "hidden-value"},
		"a query":                  {"https://a.invalid/b?token=hidden-value&c=d", "hidden-value"},
		"JSON in a line":           {"{\n  \"a\": \"hidden-value\",\n}", "hidden-value"},
	} {
		r := redactorOf(map[string]string{"key": tc.value})
		if got := r.text(tc.shown); strings.Contains(got, "hidden") || strings.Contains(got, "1844") {
			t.Errorf("%s: %q becomes %q", name, tc.shown, got)
		}
	}
	for _, text := range []string{"DEBUG is true", "port 6379 of redis"} {
		r := redactorOf(map[string]string{"env": "DEBUG=true\n", "address": "redis:6379"})
		if got := r.text(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// writings of a text.
var writings = map[string]func(string) string{
	"itself":         func(s string) string { return s },
	"JSON":           inJSON,
	"JSON in JSON":   func(s string) string { return inJSON(inJSON(s)) },
	"JSON, twice in": func(s string) string { return inJSON(inJSON(inJSON(s))) },
	"JSON without HTML": func(s string) string {
		var out strings.Builder
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(s) // a string always can be
		return strings.TrimSpace(out.String())
	},
	"Go":              func(s string) string { return fmt.Sprintf("%q", s) },
	"Go in ASCII":     func(s string) string { return fmt.Sprintf("%+q", s) },
	"Go in JSON":      func(s string) string { return inJSON(fmt.Sprintf("%q", s)) },
	"Python":          func(s string) string { return `'` + escapePython(s, `'`) + `'` },
	"Python, other":   func(s string) string { return `"` + escapePython(s, `"`) + `"` },
	"YAML":            func(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` },
	"a query":         url.QueryEscape,
	"a path":          url.PathEscape,
	"a query, twice":  func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"a query in JSON": func(s string) string { return inJSON(url.QueryEscape(s)) },
	"lower-case query": func(s string) string {
		return regexp.MustCompile(`%..`).ReplaceAllStringFunc(url.QueryEscape(s), strings.ToLower)
	},
	"hex":            func(s string) string { return hex.EncodeToString([]byte(s)) },
	"upper-case hex": func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
}

func inJSON(s string) string {
	text, _ := json.Marshal(s) // a string always can be
	return string(text)
}

func escapePython(s, quote string) string {
	return strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`).Replace(s)
}

// randomSecret has at least 8 bytes, and letters at its ends: what is around them may stay.
func randomSecret(random *rand.Rand) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	others := []rune(letters + `"'\/&+<>=:;@#%?!$ é~-_.,{}[]` + "\n")
	secret := string(letters[random.IntN(len(letters))])
	for range 7 + random.IntN(30) {
		secret += string(others[random.IntN(len(others))])
	}
	return secret + string(letters[random.IntN(len(letters))])
}

func TestRedactorFindsEveryWriting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- the same ones each time
	quotes := regexp.MustCompile(`[\\"']+`)
	for range 2000 {
		secret := randomSecret(random)
		r := redactorOf(map[string]string{"key": secret})
		for name, write := range writings {
			text := "it is " + write(secret) + " here"
			if got := quotes.ReplaceAllString(r.text(text), ""); got != "it is <redacted> here" {
				t.Fatalf("%s of %q: %q becomes %q", name, secret, text, got)
			}
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			for before := range 4 {
				for after := range 4 {
					text := encoding.EncodeToString([]byte(strings.Repeat(".", before) + secret + strings.Repeat(".", after)))
					for _, text := range []string{text, url.QueryEscape(text)} {
						got := r.text(text)
						// What stays are the bytes around it, of which each takes two characters, and padding.
						if rest := strings.Replace(got, redacted, "", 1); rest == got || len(rest) > 2*(before+after)+6 {
							t.Fatalf("base64 of %q with %d bytes before and %d behind: %q becomes %q", secret, before, after, text, got)
						}
					}
				}
			}
		}
	}
}

func TestRedactorHidesCredentialsOfHTTP(t *testing.T) {
	r := redactorOf(nil)
	for text, want := range map[string]string{
		"Authorization: Basic dXNlcjpub3Qta25vd24=":       "Authorization: Basic <redacted>",
		`{"authorization": "bearer abc.DEF-123_x"}`:       `{"authorization": "bearer <redacted>"}`,
		"the request has no basic authentication, Bearer": "the request has no basic authentication, Bearer",
		"Basic Authentication failed":                     "Basic Authentication failed",
	} {
		if got := r.text(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// TestRedactorKnowsNames shows that a name stays a name, and that a password like one is a secret.
func TestRedactorKnowsNames(t *testing.T) {
	values := map[string]string{"namespace": "shop-prod", "DB_HOST": "shop-redis", "password": "shop-admin"}
	r := redactorOf(values, "shop-prod", "shop-redis", "shop-admin")
	if got, want := r.text("shop-prod shop-redis shop-admin"), "shop-prod shop-redis <redacted>"; got != want {
		t.Errorf("it becomes %q, want %q", got, want)
	}
	values["host"] = "shop-admin" // The key of another Secret makes it no name.
	for range 10 {
		r = redactorOf(values, "shop-admin")
		if got := r.text("shop-admin"); got != redacted {
			t.Fatalf("a password that is a name elsewhere becomes %q", got)
		}
	}
}

// TestRedactorTakesAllOfWhatOverlaps, and nothing of it stays.
func TestRedactorTakesAllOfWhatOverlaps(t *testing.T) {
	r := redactorOf(map[string]string{
		"a": "first-and-second", "b": "second-and-third", "c": "secondary", "d": "second\"one",
	})
	for text, want := range map[string]string{
		"a first-and-second-and-third b": "a <redacted> b",
		"secondary":                      "<redacted>",
		"seconda":                        "seconda",
		`second\"one`:                    "<redacted>",
	} {
		if got := r.text(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// BenchmarkRedactor searches 4 MiB for the values of 10,000 Secrets that begin alike.
func BenchmarkRedactor(b *testing.B) {
	r := &redactor{found: map[string]bool{}}
	for i := range 10000 {
		r.addOf("url", fmt.Sprintf("https://%016x@sentry.invalid/%d", i*7919, i))
	}
	r.ready(nil)
	text := strings.Repeat(`{"level": "info", "msg": "GET https://shop.invalid/a\\nb%20c", "n": 1}`+"\n", maxBundleFile/72)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.text(text)
	}
}
