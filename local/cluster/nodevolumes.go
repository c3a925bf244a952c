package main

import (
	"context"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	volumeProvisioner = "nbhd.united/local" // of the storage class in node/objects
	volumesDir        = "/var/lib/kubelet/local-volumes"

	// provisionedBy tells Kubernetes' own controller that removing a released volume is somebody else's task.
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// provisionVolumes gives each claim of the node's storage class a folder, and removes it when the claim is gone, as a
// storage driver of a cloud would do. It returns at once.
func provisionVolumes(ctx context.Context, kubeconfig []byte) error {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig) // without a time limit: it watches
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	volumes := factory.Core().V1().PersistentVolumes().Informer()
	_, err = claims.AddEventHandler(onChange(func(claim *corev1.PersistentVolumeClaim) {
		if claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil {
			warn("volume of "+claim.Namespace+"/"+claim.Name, provision(ctx, client, claim))
		}
	}))
	if err != nil {
		return err
	}
	_, err = volumes.AddEventHandler(onChange(func(volume *corev1.PersistentVolume) {
		if volume.Status.Phase == corev1.VolumeReleased && volume.Annotations[provisionedBy] == volumeProvisioner {
			warn("removing volume "+volume.Name, release(ctx, client, volume))
		}
	}))
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	return nil
}

// onChange calls do with each object when it appears and when it changes.
func onChange[T any](do func(*T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { do(object.(*T)) },
		UpdateFunc: func(_, object any) { do(object.(*T)) },
	}
}

func provision(ctx context.Context, client *kubernetes.Clientset, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && class.Provisioner != volumeProvisioner {
		return nil
	}
	if err != nil {
		return err
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(volumesDir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	_, err = client.CoreV1().PersistentVolumes().Create(ctx, localVolume(name, path, class, claim), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func localVolume(
	name, path string, class *storagev1.StorageClass, claim *corev1.PersistentVolumeClaim,
) *corev1.PersistentVolume {
	here := corev1.NodeSelectorRequirement{
		Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{nodeName},
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: volumeProvisioner}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			StorageClassName:              class.Name,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{here}}},
			}},
		},
	}
}

func release(ctx context.Context, client *kubernetes.Clientset, volume *corev1.PersistentVolume) error {
	if volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(volumesDir, volume.Name)); err != nil {
		return err
	}
	err := client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
