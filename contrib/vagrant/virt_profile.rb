# frozen_string_literal: true

# SPDX-License-Identifier: GPL-2.0-or-later
#
# Profiles for vagrant-libvirt. In a Vagrantfile:
#
#   require '/usr/share/virt-profile/vagrant/virt_profile'
#   config.vm.provider :libvirt do |libvirt|
#     libvirt.profiles = ['rng', 'fast-disk,priority=100']
#   end
#
# A profile is written as after `virt-profile --profile`. What vagrant-libvirt wrote is changed by the
# program virt-profile before libvirt sees it; profiles that cannot be applied stop `vagrant up`.

require 'open3'
require 'vagrant-libvirt/errors'
require 'vagrant-libvirt/config'
require 'vagrant-libvirt/action/create_domain'

module VirtProfile
  # What a provider's block may say.
  module Config
    attr_writer :profiles

    def profiles
      @profiles = [] if @profiles.nil? || @profiles == VagrantPlugins::ProviderLibvirt::Config::UNSET_VALUE
      @profiles
    end

    def finalize!
      super
      @profiles = Array(profiles).map(&:to_s)
    end

    # Blocks of several Vagrantfiles add up; a profile that the later one names again is as it says.
    def merge(other)
      super.tap do |merged|
        later = Array(other.profiles).map(&:to_s)
        names = later.map { |word| word.split(',').first }
        earlier = Array(profiles).map(&:to_s).reject { |word| names.include?(word.split(',').first) }
        merged.profiles = earlier + later
      end
    end
  end

  # The program did not apply the profiles.
  class Refused < VagrantPlugins::ProviderLibvirt::Errors::VagrantLibvirtError
    def initialize(told)
      @told = told
      super()
    end

    def message
      "virt-profile: #{@told}"
    end
    alias to_s message
  end

  # What is done to the domain between vagrant-libvirt's template and libvirt.
  module CreateDomain
    def call(env)
      @profiles = env[:machine].provider_config.profiles
      @ui = env[:ui]
      env[:ui].info(" -- Profiles:          #{@profiles.join(' ')}") unless @profiles.empty?
      super
    end

    def to_xml(template_name = nil, data = binding)
      xml = super
      @profiles.nil? || @profiles.empty? || template_name != 'domain' ? xml : VirtProfile.apply(xml, @profiles, @ui)
    end
  end

  # The domain with profiles, by the program.
  def self.apply(xml, profiles, ui_of_vagrant)
    words = profiles.flat_map { |profile| ['--profile', profile] }
    # Bundler's and Vagrant's variables are for Ruby.
    found, told, status = Open3.capture3('virt-profile', *words, '--print-xml', stdin_data: xml)
    raise Refused, told.strip unless status.success?

    ui_of_vagrant.warn(told.strip) unless told.strip.empty?
    found
  rescue Errno::ENOENT
    raise Refused, 'the program is not installed'
  end
end

VagrantPlugins::ProviderLibvirt::Config.prepend(VirtProfile::Config)
VagrantPlugins::ProviderLibvirt::Action::CreateDomain.prepend(VirtProfile::CreateDomain)
