# SPDX-License-Identifier: GPL-2.0-or-later
# nix build 'path:CHECKOUT?dir=contrib/packages'
{
  description = "Composable pieces of libvirt domain XML";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: rec {
        virt-profile = pkgs.python3Packages.buildPythonApplication {
          pname = "virt-profile";
          version = "0.1.0";
          pyproject = true;
          src = ../..;
          build-system = with pkgs.python3Packages; [ setuptools docutils ];
          dependencies = with pkgs.python3Packages; [ lxml libvirt argcomplete ];
          optional-dependencies.service = with pkgs.python3Packages; [ fastapi uvicorn ];
          installCheckPhase = "sh tests/smoke.sh $out/bin"; # the project's own tests want libvirt's daemon
        };
        default = virt-profile;
      });
    };
}
