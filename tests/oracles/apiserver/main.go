// Command apiserver-oracle says, for NetworkPolicy manifests, what a Kubernetes API server and kubectl
// do with them.  It holds no rule of its own: it runs their code (see server.go and kubectl.go).
//
// Standard input holds one JSON object a line, {"name": ..., "manifest": "text of one document"};
// standard output gets one answer a line, in the same order.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"

	"k8s.io/klog/v2"
)

// A Question is one manifest.
type Question struct {
	Name     string `json:"name"`
	Manifest string `json:"manifest"`
}

// A Fault is one reason for a refusal.  When the document could not be decoded, Type is "unknown field",
// "duplicate field" (with the key alone as Field if it was YAML's reader that noticed), "wrong type" or
// "malformed"; it is "kubectl" when only the client refused it, "ambiguous" when both took it but not for
// the same, and otherwise one of the API's validation error types ("Invalid value", "Required value", ...).
type Fault struct {
	Field  string `json:"field"`
	Type   string `json:"type"`
	Detail string `json:"detail"`
}

// A Verdict is what one reader of a manifest decided.
type Verdict struct {
	Accepted bool             `json:"accepted"`
	Errors   []Fault          `json:"errors"`
	Objects  []map[string]any `json:"objects,omitempty"`
	Warnings []string         `json:"warnings,omitempty"`
}

// An Answer accepts a manifest if it means one and the same policy to kubectl and to the server.
type Answer struct {
	Name      string         `json:"name"`
	Manifest  string         `json:"manifest"`
	Accepted  bool           `json:"accepted"`
	Errors    []Fault        `json:"errors"`
	Defaulted map[string]any `json:"defaulted,omitempty"`
	Warnings  []string       `json:"warnings,omitempty"`
	// Server and Kubectl are there only when those two disagree.
	Server  *Verdict `json:"server,omitempty"`
	Kubectl *Verdict `json:"kubectl,omitempty"`
}

func main() {
	klog.SetLogger(klog.New(nil))
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	server, err := newServer()
	if err != nil {
		return err
	}
	client, err := newClient(server)
	if err != nil {
		return err
	}
	defer client.close()

	questions := bufio.NewScanner(in)
	questions.Buffer(nil, 64<<20)
	answers := bufio.NewWriter(out)
	encoder := json.NewEncoder(answers)
	encoder.SetEscapeHTML(false)
	for questions.Scan() {
		var question Question
		if err := json.Unmarshal(questions.Bytes(), &question); err != nil {
			return err
		}
		applied, err := client.apply(question.Manifest)
		if err != nil {
			return fmt.Errorf("%s: %w", question.Name, err)
		}
		if err := encoder.Encode(join(question, server.create(question.Manifest), applied)); err != nil {
			return err
		}
	}
	if err := questions.Err(); err != nil {
		return err
	}
	return answers.Flush()
}

// join makes one answer of what the server says of the document's own text and what becomes of it when
// kubectl reads the document first.
func join(question Question, posted, applied Verdict) Answer {
	answer := Answer{Name: question.Name, Manifest: question.Manifest, Errors: posted.Errors, Warnings: posted.Warnings}
	same := posted.Accepted == applied.Accepted && reflect.DeepEqual(posted.Objects, applied.Objects)
	answer.Accepted = same && posted.Accepted
	if answer.Accepted {
		answer.Defaulted = posted.Objects[0]
		return answer
	}
	if len(answer.Errors) == 0 {
		answer.Errors = applied.Errors
	}
	if len(answer.Errors) == 0 {
		answer.Errors = []Fault{{Type: "ambiguous", Detail: "kubectl and the server take it differently"}}
	}
	if !same {
		answer.Server, answer.Kubectl = &posted, &applied
	}
	return answer
}
