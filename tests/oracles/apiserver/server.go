package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/emicklei/go-restful/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/managedfields"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install" // puts the types, conversions and defaults into the scheme
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
)

var (
	groupVersion = schema.GroupVersion{Group: networking.GroupName, Version: "v1"}
	resources    = schema.GroupResource{Group: networking.GroupName, Resource: "networkpolicies"}
)

// A server is the API server's own REST endpoint for NetworkPolicy: routing, strict decoding, defaulting,
// the resource's strategy, validation, and the encoding of what would be stored.  Left out are
// authentication, admission (so every namespace exists) and etcd (so it forgets what it was given).
type server struct {
	handler http.Handler
}

func newServer() (*server, error) {
	container := restful.NewContainer()
	container.Router(restful.CurlyRouter{})
	scheme := legacyscheme.Scheme
	group := &endpoints.APIGroupVersion{
		Root:                       "/apis",
		GroupVersion:               groupVersion,
		Storage:                    map[string]rest.Storage{resources.Resource: newPolicies()},
		Serializer:                 legacyscheme.Codecs,
		ParameterCodec:             legacyscheme.ParameterCodec,
		Creater:                    scheme,
		Convertor:                  scheme,
		ConvertabilityChecker:      scheme,
		UnsafeConvertor:            runtime.UnsafeObjectConvertor(scheme),
		Defaulter:                  scheme,
		Typer:                      scheme,
		Namer:                      runtime.Namer(meta.NewAccessor()),
		TypeConverter:              managedfields.NewDeducedTypeConverter(),
		EquivalentResourceRegistry: runtime.NewEquivalentResourceRegistry(),
		Admit:                      admission.NewChainHandler(),
		MaxRequestBodyBytes:        3 << 20,
	}
	if _, _, err := group.InstallREST(container); err != nil {
		return nil, err
	}
	resolver := &request.RequestInfoFactory{
		APIPrefixes:          sets.NewString("api", "apis"),
		GrouplessAPIPrefixes: sets.NewString("api"),
	}
	handler := filters.WithRequestInfo(container, resolver)
	handler = filters.WithWarningRecorder(handler)
	return &server{handler: filters.WithAuditInit(handler)}, nil
}

// policies is the generic registry's store with NetworkPolicy's strategy, as far as creation needs it.
type policies struct {
	store *genericregistry.Store
}

// strategy is NetworkPolicy's, with names that do not differ from one run to the next.
type strategy struct {
	rest.RESTCreateStrategy
}

func (strategy) GenerateName(prefix string) string { return prefix + "xxxxx" }

func newPolicies() policies {
	return policies{store: &genericregistry.Store{
		NewFunc:                  func() runtime.Object { return &networking.NetworkPolicy{} },
		NewListFunc:              func() runtime.Object { return &networking.NetworkPolicyList{} },
		DefaultQualifiedResource: resources,
		KeyFunc: func(ctx context.Context, name string) (string, error) {
			return genericregistry.NamespaceKeyFunc(ctx, "/networkpolicies", name)
		},
		ObjectNameFunc: func(obj runtime.Object) (string, error) {
			return obj.(*networking.NetworkPolicy).Name, nil
		},
		CreateStrategy: strategy{networkpolicy.Strategy},
		Storage:        genericregistry.DryRunnableStorage{Storage: newForgetful()},
	}}
}

func (p policies) New() runtime.Object     { return p.store.New() }
func (p policies) Destroy()                {}
func (p policies) NamespaceScoped() bool   { return networkpolicy.Strategy.NamespaceScoped() }
func (p policies) GetSingularName() string { return "networkpolicy" }

func (p policies) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	return nil, apierrors.NewNotFound(resources, name)
}

func (p policies) Create(
	ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions,
) (runtime.Object, error) {
	return p.store.Create(ctx, obj, validate, options)
}

// forgetful answers a creation as etcd's storage does, with the object read back from its stored bytes.
type forgetful struct {
	storage.Interface
	versioner storage.Versioner
	codec     runtime.Codec
}

func newForgetful() forgetful {
	stored := protobuf.NewSerializer(legacyscheme.Scheme, legacyscheme.Scheme)
	return forgetful{
		versioner: storage.APIObjectVersioner{},
		codec:     legacyscheme.Codecs.CodecForVersions(stored, stored, groupVersion, runtime.InternalGroupVersioner),
	}
}

func (f forgetful) Versioner() storage.Versioner { return f.versioner }

func (f forgetful) Create(_ context.Context, _ string, obj, out runtime.Object, _ uint64) error {
	if version, err := f.versioner.ObjectResourceVersion(obj); err == nil && version != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	if err := f.versioner.PrepareObjectForStorage(obj); err != nil {
		return err
	}
	data, err := runtime.Encode(f.codec, obj)
	if err != nil {
		return err
	}
	return runtime.DecodeInto(f.codec, data, out)
}

// create posts the document as it stands, asking for strict field validation.
func (s *server) create(manifest string) Verdict {
	text := []byte(manifest)
	contentType := runtime.ContentTypeYAML
	if yaml.IsJSONBuffer(text) && json.Valid(text) {
		contentType = runtime.ContentTypeJSON
	}
	place := fmt.Sprintf("/apis/%s/namespaces/%s/%s", groupVersion, url.PathEscape(namespaceOf(text)), resources.Resource)
	post := httptest.NewRequest(http.MethodPost, place+"?fieldValidation=Strict", bytes.NewReader(text))
	post.Header.Set("Content-Type", contentType)
	post.Header.Set("Accept", runtime.ContentTypeJSON)
	recorder := httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, post)
	if recorder.Code == http.StatusNotFound || recorder.Code == http.StatusMovedPermanently {
		return Verdict{Errors: []Fault{{Field: "metadata.namespace", Type: "malformed", Detail: "no such place on the server"}}}
	}
	return verdictOf(recorder.Result().Header, recorder.Body.Bytes())
}

// namespaceOf is the namespace whose URL a client would post the document to.
func namespaceOf(text []byte) string {
	var object struct {
		Metadata struct {
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(text, &object); err != nil || object.Metadata.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return object.Metadata.Namespace
}

// verdictOf reads the server's response to a creation.
func verdictOf(header http.Header, body []byte) Verdict {
	warnings := warningsOf(header)
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil {
		return Verdict{Errors: []Fault{{Type: "malformed", Detail: string(body)}}, Warnings: warnings}
	}
	if object["kind"] != "Status" {
		return Verdict{Accepted: true, Errors: []Fault{}, Objects: []map[string]any{unstamped(object)}, Warnings: warnings}
	}
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err != nil {
		return Verdict{Errors: []Fault{{Type: "malformed", Detail: string(body)}}, Warnings: warnings}
	}
	return Verdict{Errors: faultsOf(status), Warnings: warnings}
}

func warningsOf(header http.Header) []string {
	parsed, _ := utilnet.ParseWarningHeaders(header["Warning"])
	var warnings []string
	for _, warning := range parsed {
		warnings = append(warnings, warning.Text)
	}
	return warnings
}

// unstamped leaves out what a server and kubectl put into metadata on their own, and what differs from
// one run to the next.
func unstamped(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	for _, key := range []string{"uid", "creationTimestamp", "managedFields", "generation"} {
		delete(metadata, key)
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	return object
}

var (
	twiceFault  = regexp.MustCompile(`key (".*"|\S+) already set in map`)
	strictFault = regexp.MustCompile(`(unknown|duplicate) field ("(?:[^"\\]|\\.)*")`)
	typeFault   = regexp.MustCompile(`cannot unmarshal (.*) into Go (?:struct field \w+\.(\S+)|value) of type (\S+)`)
	prefix      = regexp.MustCompile(`^(?:.*? cannot be handled as a \w+|the object provided is unrecognized \(.*?\)): `)
	excerpt     = regexp.MustCompile(`(?s) \([0-9a-f]+(?: \.\.\.)?\)$`) // the document's first bytes, in hexadecimal
)

// faultsOf takes a refusal apart, whose structure only a failed validation keeps.
func faultsOf(status metav1.Status) []Fault {
	if status.Reason == metav1.StatusReasonInvalid && status.Details != nil {
		var faults []Fault
		for _, cause := range status.Details.Causes {
			kind := field.ErrorType(cause.Type).String()
			detail := strings.TrimPrefix(strings.TrimPrefix(cause.Message, kind), ": ")
			faults = append(faults, Fault{Field: cause.Field, Type: kind, Detail: detail})
		}
		return faults
	}
	message := excerpt.ReplaceAllString(prefix.ReplaceAllString(status.Message, ""), "")
	if faults := strictFaults(message); faults != nil {
		return faults
	}
	if found := typeFault.FindStringSubmatch(message); found != nil {
		return []Fault{{Field: found[2], Type: "wrong type", Detail: message}}
	}
	return []Fault{{Type: "malformed", Detail: message}}
}

// strictFaults are those that only strict decoding minds.
func strictFaults(message string) []Fault {
	if !strings.HasPrefix(message, "strict ") {
		return nil
	}
	var faults []Fault
	for _, one := range twiceFault.FindAllStringSubmatch(message, -1) {
		faults = append(faults, Fault{Field: unquoted(one[1]), Type: "duplicate field", Detail: message})
	}
	for _, one := range strictFault.FindAllStringSubmatch(message, -1) {
		faults = append(faults, Fault{Field: unquoted(one[2]), Type: one[1] + " field", Detail: message})
	}
	return faults
}

func unquoted(text string) string {
	if plain, err := strconv.Unquote(text); err == nil {
		return plain
	}
	return text
}
