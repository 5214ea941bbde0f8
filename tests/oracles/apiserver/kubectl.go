package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/kubectl/pkg/cmd/apply"
	"k8s.io/kubectl/pkg/cmd/delete"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/validation"
)

// A client is `kubectl apply -f manifest --validate=strict` in front of a server.
type client struct {
	server *server
	dir    string
	rest   resource.RESTClient
	mapper meta.RESTMapper
	posted []Verdict // the server's answers to the creations of this run
}

func newClient(server *server) (*client, error) {
	dir, err := os.MkdirTemp("", "apiserver-oracle-")
	if err != nil {
		return nil, err
	}
	c := &client{server: server, dir: dir, mapper: restmapper.NewDiscoveryRESTMapper(discovered())}
	c.rest, err = rest.RESTClientFor(&rest.Config{
		Host:          "http://server",
		APIPath:       "/apis",
		ContentConfig: withGroupVersion(resource.UnstructuredPlusDefaultContentConfig()),
		Transport:     c,
		QPS:           -1,
	})
	return c, err
}

// discovered is what a cluster's discovery would say, as far as NetworkPolicy and List need it.
func discovered() []*restmapper.APIGroupResources {
	policies := metav1.APIResource{Name: resources.Resource, SingularName: "networkpolicy", Namespaced: true, Kind: "NetworkPolicy"}
	return []*restmapper.APIGroupResources{
		discoveredGroup(schema.GroupVersion{Version: "v1"}),
		discoveredGroup(groupVersion, policies),
	}
}

func discoveredGroup(group schema.GroupVersion, resources ...metav1.APIResource) *restmapper.APIGroupResources {
	version := metav1.GroupVersionForDiscovery{GroupVersion: group.String(), Version: group.Version}
	return &restmapper.APIGroupResources{
		Group: metav1.APIGroup{
			Name:             group.Group,
			Versions:         []metav1.GroupVersionForDiscovery{version},
			PreferredVersion: version,
		},
		VersionedResources: map[string][]metav1.APIResource{group.Version: resources},
	}
}

func withGroupVersion(config rest.ContentConfig) rest.ContentConfig {
	config.GroupVersion = &groupVersion
	return config
}

func (c *client) close() { os.RemoveAll(c.dir) }

// RoundTrip carries a request of kubectl's to the server, in this process.
func (c *client) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil {
		req.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	c.server.handler.ServeHTTP(recorder, req)
	if req.Method == http.MethodPost {
		c.posted = append(c.posted, verdictOf(recorder.Result().Header, recorder.Body.Bytes()))
	}
	return recorder.Result(), nil
}

func (c *client) apply(manifest string) (Verdict, error) {
	file := filepath.Join(c.dir, "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		return Verdict{}, err
	}
	c.posted = nil
	err := c.options(file).Run()
	verdict := Verdict{Accepted: err == nil, Errors: []Fault{}}
	for _, posted := range c.posted {
		verdict.Objects = append(verdict.Objects, posted.Objects...)
		verdict.Warnings = append(verdict.Warnings, posted.Warnings...)
		verdict.Errors = append(verdict.Errors, posted.Errors...)
	}
	verdict.Errors = append(verdict.Errors, c.refusals(err)...)
	return verdict, nil
}

// options are those that `kubectl apply` completes from its flags and a cluster.
func (c *client) options(file string) *apply.ApplyOptions {
	streams := genericiooptions.NewTestIOStreamsDiscard()
	return &apply.ApplyOptions{
		Recorder:            genericclioptions.NoopRecorder{},
		PrintFlags:          genericclioptions.NewPrintFlags("created"),
		ToPrinter:           func(string) (printers.ResourcePrinter, error) { return printers.NewDiscardingPrinter(), nil },
		DeleteOptions:       &delete.DeleteOptions{FilenameOptions: resource.FilenameOptions{Filenames: []string{file}}},
		FieldManager:        apply.FieldManagerClientSideApply,
		DryRunStrategy:      cmdutil.DryRunNone,
		Overwrite:           true,
		ValidationDirective: metav1.FieldValidationStrict,
		Validator:           validation.NewParamVerifyingSchema(validation.NullSchema{}, supporting{}, metav1.FieldValidationStrict),
		Builder: resource.NewFakeBuilder(
			func(schema.GroupVersion) (resource.RESTClient, error) { return c.rest, nil },
			func() (meta.RESTMapper, error) { return c.mapper, nil },
			func() (restmapper.CategoryExpander, error) { return resource.FakeCategoryExpander, nil },
		),
		Mapper:            c.mapper,
		Namespace:         metav1.NamespaceDefault,
		IOStreams:         streams,
		VisitedUids:       sets.New[types.UID](),
		VisitedNamespaces: sets.New[string](),
	}
}

// supporting says that the server validates fields itself, as any since 1.25 does.
type supporting struct{}

func (supporting) HasSupport(schema.GroupVersionKind) error { return nil }

// refusals are kubectl's own: what it never sent.
func (c *client) refusals(err error) []Fault {
	var several utilerrors.Aggregate
	if errors.As(err, &several) {
		var faults []Fault
		for _, one := range several.Errors() {
			faults = append(faults, c.refusals(one)...)
		}
		return faults
	}
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) && len(c.posted) > 0 {
		return nil
	}
	message := strings.ReplaceAll(err.Error(), c.dir+string(filepath.Separator), "")
	return []Fault{{Type: "kubectl", Detail: message}}
}
