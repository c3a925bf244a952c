// Command azurecheck drives an Azure endpoint with the Go SDK: a second client, in another language, with another
// implementation of tokens, long-running operations and paging than the Python SDKs that the product uses.
//
// It signs in with the workload identity of its environment (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_AUTHORITY_HOST,
// AZURE_FEDERATED_TOKEN_FILE; SSL_CERT_FILE for a private CA), prints a JSON report and fails if any check failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
)

const (
	audience = "https://management.azure.com"
	timeout  = time.Minute
)

// target is where the checks work; everything in it must exist beforehand.
type target struct {
	endpoint, subscription, group, location, environment string
}

type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Millis int64  `json:"millis"`
}

type report struct {
	OK     bool    `json:"ok"`
	Checks []check `json:"checks"`
}

func main() {
	var where target
	flag.StringVar(&where.endpoint, "arm", "", "URL of Azure Resource Manager")
	flag.StringVar(&where.subscription, "subscription", "", "subscription id")
	flag.StringVar(&where.group, "group", "", "resource group")
	flag.StringVar(&where.location, "location", "", "region, such as eastus2")
	flag.StringVar(&where.environment, "environment", "", "id of the managed environment")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	result, err := run(ctx, where)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(result); err != nil || !result.OK {
		os.Exit(1)
	}
}

func run(ctx context.Context, where target) (report, error) {
	client, err := connect(where)
	if err != nil {
		return report{}, err
	}
	subject := suite{client: client, where: where}
	result := report{OK: true}
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"absent app is 404 ResourceNotFound", subject.absent},
		{"create, polled until done", subject.create},
		{"get shows what was put", subject.get},
		{"create continues from a resume token", subject.resume},
		{"list follows next links", subject.list},
		{"patch merges, polled until done", subject.patch},
		{"unknown resource group is 404 ResourceGroupNotFound", subject.unknownGroup},
		{"invalid name is 400 ContainerAppInvalidName", subject.invalidName},
		{"delete, polled until done", subject.delete},
		{"deleting again is no error", subject.delete},
	} {
		started := time.Now()
		detail, err := step.do(ctx)
		if err != nil {
			detail = err.Error()
			result.OK = false
		}
		result.Checks = append(result.Checks, check{step.name, err == nil, detail, time.Since(started).Milliseconds()})
	}
	return result, nil
}

func connect(where target) (*armappcontainers.ContainerAppsClient, error) {
	options := policy.ClientOptions{
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: os.Getenv("AZURE_AUTHORITY_HOST"),
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: where.endpoint, Audience: audience},
			},
		},
		Retry: policy.RetryOptions{MaxRetries: -1},
	}
	credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: true,
	})
	if err != nil {
		return nil, err
	}
	return armappcontainers.NewContainerAppsClient(
		where.subscription, credential, &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true},
	)
}

// suite holds the checks; they build on each other in the order of run.
type suite struct {
	client *armappcontainers.ContainerAppsClient
	where  target
}

const (
	first  = "azurecheck-1"
	second = "azurecheck-2"
)

var polling = &runtime.PollUntilDoneOptions{Frequency: time.Second}

func (s suite) body() armappcontainers.ContainerApp {
	return armappcontainers.ContainerApp{
		Location: &s.where.location,
		Tags:     map[string]*string{"made-by": to.Ptr("azurecheck")},
		Properties: &armappcontainers.ContainerAppProperties{
			EnvironmentID: &s.where.environment,
			Configuration: &armappcontainers.Configuration{
				ActiveRevisionsMode: to.Ptr(armappcontainers.ActiveRevisionsModeSingle),
				Ingress:             &armappcontainers.Ingress{External: to.Ptr(true), TargetPort: to.Ptr[int32](8787)},
			},
			Template: &armappcontainers.Template{
				Containers: []*armappcontainers.Container{{
					Name:      to.Ptr("main"),
					Image:     to.Ptr("example.test/azurecheck:1"),
					Resources: &armappcontainers.ContainerResources{CPU: to.Ptr(0.5), Memory: to.Ptr("1Gi")},
				}},
				Scale: &armappcontainers.Scale{MinReplicas: to.Ptr[int32](0), MaxReplicas: to.Ptr[int32](1)},
			},
		},
	}
}

func (s suite) absent(ctx context.Context) (string, error) {
	_, err := s.client.Get(ctx, s.where.group, first, nil)
	return expect(err, 404, "ResourceNotFound")
}

func (s suite) create(ctx context.Context) (string, error) {
	poller, err := s.client.BeginCreateOrUpdate(ctx, s.where.group, first, s.body(), nil)
	if err != nil {
		return "", err
	}
	done, err := poller.PollUntilDone(ctx, polling)
	if err != nil {
		return "", err
	}
	return succeeded(done.ContainerApp)
}

func (s suite) get(ctx context.Context) (string, error) {
	found, err := s.client.Get(ctx, s.where.group, first, nil)
	if err != nil {
		return "", err
	}
	template := found.Properties.Template
	switch {
	case *template.Containers[0].Image != "example.test/azurecheck:1":
		return "", errors.New("another image")
	case *template.Scale.MaxReplicas != 1 || *template.Containers[0].Resources.CPU != 0.5:
		return "", errors.New("another scale or size")
	case *found.Properties.Configuration.Ingress.TargetPort != 8787 || *found.Properties.Configuration.Ingress.Fqdn == "":
		return "", errors.New("another ingress")
	}
	return *found.ID, nil
}

func (s suite) resume(ctx context.Context) (string, error) {
	poller, err := s.client.BeginCreateOrUpdate(ctx, s.where.group, second, s.body(), nil)
	if err != nil {
		return "", err
	}
	token, err := poller.ResumeToken()
	if err != nil {
		return "", err
	}
	again, err := s.client.BeginCreateOrUpdate(
		ctx, s.where.group, second, armappcontainers.ContainerApp{},
		&armappcontainers.ContainerAppsClientBeginCreateOrUpdateOptions{ResumeToken: token},
	)
	if err != nil {
		return "", err
	}
	done, err := again.PollUntilDone(ctx, polling)
	if err != nil {
		return "", err
	}
	return succeeded(done.ContainerApp)
}

func (s suite) list(ctx context.Context) (string, error) {
	var names []string
	pages := 0
	for pager := s.client.NewListByResourceGroupPager(s.where.group, nil); pager.More(); pages++ {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, app := range page.Value {
			names = append(names, *app.Name)
		}
	}
	if !slices.Contains(names, first) || !slices.Contains(names, second) {
		return "", fmt.Errorf("listed only %v", names)
	}
	return fmt.Sprintf("%d apps on %d pages", len(names), pages), nil
}

func (s suite) patch(ctx context.Context) (string, error) {
	change := armappcontainers.ContainerApp{Location: &s.where.location, Tags: map[string]*string{"patched": to.Ptr("yes")}}
	poller, err := s.client.BeginUpdate(ctx, s.where.group, first, change, nil)
	if err != nil {
		return "", err
	}
	done, err := poller.PollUntilDone(ctx, polling)
	if err != nil {
		return "", err
	}
	if done.Tags["patched"] == nil || done.Tags["made-by"] == nil {
		return "", fmt.Errorf("tags are %v", done.Tags)
	}
	return succeeded(done.ContainerApp)
}

func (s suite) unknownGroup(ctx context.Context) (string, error) {
	_, err := s.client.Get(ctx, "nowhere", first, nil)
	return expect(err, 404, "ResourceGroupNotFound")
}

func (s suite) invalidName(ctx context.Context) (string, error) {
	_, err := s.client.BeginCreateOrUpdate(ctx, s.where.group, "Not-A-Name", s.body(), nil)
	return expect(err, 400, "ContainerAppInvalidName")
}

func (s suite) delete(ctx context.Context) (string, error) {
	for _, name := range []string{first, second} {
		poller, err := s.client.BeginDelete(ctx, s.where.group, name, nil)
		if err != nil {
			return "", err
		}
		if _, err := poller.PollUntilDone(ctx, polling); err != nil {
			return "", err
		}
		_, err = s.client.Get(ctx, s.where.group, name, nil)
		if detail, err := expect(err, 404, "ResourceNotFound"); err != nil {
			return detail, err
		}
	}
	return "", nil
}

// succeeded says which revision a finished change made.
func succeeded(app armappcontainers.ContainerApp) (string, error) {
	if state := app.Properties.ProvisioningState; state == nil || *state != armappcontainers.ContainerAppProvisioningStateSucceeded {
		return "", errors.New("the app is not in provisioning state Succeeded")
	}
	return *app.Properties.LatestRevisionName, nil
}

// expect turns the wanted refusal into success, and everything else into an error.
func expect(err error, status int, code string) (string, error) {
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) {
		return "", fmt.Errorf("expected %d %s, got: %w", status, code, err)
	}
	if refused.StatusCode != status || refused.ErrorCode != code {
		return "", fmt.Errorf("expected %d %s, got %d %s", status, code, refused.StatusCode, refused.ErrorCode)
	}
	return code, nil
}
